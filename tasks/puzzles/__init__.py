"""Puzzles: what is given is kept, and the rest is filled by the rules."""
