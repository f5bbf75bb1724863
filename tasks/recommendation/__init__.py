"""Collaborative filtering on implicit feedback."""
