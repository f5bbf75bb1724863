"""Estimators of mutual information."""
