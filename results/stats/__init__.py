"""Statistics of results: intervals, comparisons and ranks over seeds, summaries over tasks, seeds still needed. All deterministic."""

from __future__ import annotations

from elboard.results.stats.across import Estimate, bootstrap, elo, iqm, mean_rank, normalise, studentized, task_ranks, win_rate
from elboard.results.stats.groups import Comparison, Needed, compare, holm, needed
from elboard.results.stats.intervals import Cell, summarise, summarise_many
from elboard.results.stats.ranks import Pairs, Standing, compare_rows, standings
