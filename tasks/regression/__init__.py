"""Regression with a predictive distribution."""
