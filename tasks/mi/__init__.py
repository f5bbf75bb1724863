"""Mutual information: estimates of what is known, and estimates that should agree with each other."""
