"""How many dimensions data have, by the codes of a model that was given more."""

from __future__ import annotations

from elboard.bench.metrics.conventions import Convention

METRICS = (
    Convention("dimension", "relevant axes of the codes", "axes", "none", 0.0, note="with 99 % of the relevance (Saha et al. 2025)"),
    Convention("dimension_error", "relevant axes against the intrinsic dimension", "axes", "lower", 0.0, note="absolute difference"),
)
