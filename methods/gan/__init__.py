"""Generators trained against a critic."""
