"""Populations of networks and their sparse twins."""
