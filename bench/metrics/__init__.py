"""Metrics in NumPy, each with its convention (:mod:`elboard.bench.metrics.conventions`) and an independent oracle in the tests; those that
accumulate are there as :class:`torchmetrics.Metric` classes too (:mod:`elboard.bench.metrics.accumulated`)."""
