"""Classifiers trained, or rescaled afterwards, so that their probabilities are honest."""
