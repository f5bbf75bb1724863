"""How the codes of all examples together are distributed."""
