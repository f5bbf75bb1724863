"""Diffusions of a density that is known: solvers, and bounds."""
