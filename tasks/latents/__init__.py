"""Generators in the latents of a tokenizer: what latents keep, give back, and let be generated."""
