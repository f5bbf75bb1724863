"""Conditional generation: images with the attributes that are asked for."""
