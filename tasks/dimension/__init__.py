"""Intrinsic dimension."""
