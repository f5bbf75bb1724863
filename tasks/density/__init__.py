"""Density estimation of real vectors."""
