"""Classification with corrupted training labels, whose protocol is that of :mod:`elboard.bench.kinds.classification`."""

from __future__ import annotations

from elboard.bench.metrics.conventions import share

METRICS = (
    share("accuracy_last", "clean test accuracy of the last epoch", "higher"),
    share("accuracy_best", "clean test accuracy at the epoch that noisy validation selects", "higher"),
    share("accuracy_peak", "largest clean test accuracy of any epoch", "higher", "an oracle: it selects on the test set"),
    share("accuracy_last10", "mean clean test accuracy of the last ten epochs", "higher"),
    share("memorised", "corrupted training labels that are predicted", "lower"),
    share("label_precision", "clean labels among those selected", "higher"),
)
