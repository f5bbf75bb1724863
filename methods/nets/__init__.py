"""Backbones shared by methods, so that a difference in a table is a difference of method."""
