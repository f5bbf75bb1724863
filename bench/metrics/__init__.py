"""Metrics in NumPy, each with its convention (:mod:`elboard.bench.metrics.conventions`) and an independent oracle in the tests."""
