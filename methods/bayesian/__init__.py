"""Bayesian neural networks, and the point estimate that they are compared with."""
