"""Posteriors that are known, or of small networks, and what samplers make of them."""
