"""Tokenizers whose latents one and the same flow generates."""
