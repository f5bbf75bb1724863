"""Posterior collapse."""
