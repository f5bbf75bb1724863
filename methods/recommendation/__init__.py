"""Recommenders from implicit feedback."""
