"""Sequences of tokens that are no text: pixels of few levels, tokens that determine each other."""
