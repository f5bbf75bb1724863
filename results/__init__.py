"""Records and what is computed from them. Never imports torch."""
