"""Statistics of results: intervals, comparisons and ranks over seeds, summaries over tasks, seeds still needed. All deterministic."""

from __future__ import annotations

from elboard.results.stats.across import (
    CriticalDifference,
    Estimate,
    bootstrap,
    critical_difference,
    elo,
    iqm,
    mean_rank,
    normalise,
    performance_profile,
    probability_of_improvement,
    studentized,
    task_ranks,
    win_rate,
)
from elboard.results.stats.groups import Comparison, Pairwise, compare, holm, pairwise, ranks
from elboard.results.stats.intervals import Cell, summarise, summarise_many
from elboard.results.stats.power import Needed, needed

__all__ = [
    "Cell",
    "Comparison",
    "CriticalDifference",
    "Estimate",
    "Needed",
    "Pairwise",
    "bootstrap",
    "compare",
    "critical_difference",
    "elo",
    "holm",
    "iqm",
    "mean_rank",
    "needed",
    "normalise",
    "pairwise",
    "performance_profile",
    "probability_of_improvement",
    "ranks",
    "studentized",
    "summarise",
    "summarise_many",
    "task_ranks",
    "win_rate",
]
