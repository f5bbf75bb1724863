"""Discrete latents whose posterior is known by enumeration."""
