"""Dropout as inference, and other uses of random masks."""
