"""Diffusion models and flows along a path from data to noise."""
