"""Autoencoders that read what they write."""
