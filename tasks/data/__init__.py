"""Data sets: where they come from (datasets.yaml), how they get here (fetch.py), what they hold (loaders.py)."""
