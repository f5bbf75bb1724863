"""Trained classifiers that are to forget some of their training examples."""
