"""Tasks that come one after the other."""
