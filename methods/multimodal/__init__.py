"""Generative models of several modalities."""
