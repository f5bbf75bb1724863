"""What a board says of its groups (cells, standings, costs), kept where they are asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elboard.bench.metrics.conventions import convention
from elboard.results.kept import kept
from elboard.results.stats import Cell, Standing, compare_rows, standings, summarise_many
from elboard.results.store import Group


@dataclass(frozen=True)
class Summary:
    """Of each group of a board: ``cells`` by metric, where it stands by each ranked metric, mean ``costs`` by name."""

    cells: list[dict[str, Cell]]
    ranks: list[dict[str, Standing]]
    costs: list[dict[str, float]]


def summarise_board(
    groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str], kept_in: Path | None, apart: Sequence[int] = ()
) -> Summary:
    """Summary of ``groups``: cells of the metrics ``columns``, standings by the metrics ``ranked`` among them.

    ``kept_in``: folder of the cache; None keeps nothing. ``apart``: places of groups that are ranked neither themselves nor against.
    """
    if kept_in is None:
        return _compute(groups, columns, ranked, apart)
    about = ["summary", list(columns), list(ranked), [[group.group, group.n, group.digest] for group in groups]]
    about += [list(apart)] if apart else []
    return _read(kept(kept_in, about, lambda: _plain(_compute(groups, columns, ranked, apart))))


def _compute(groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str], apart: Sequence[int]) -> Summary:
    values = {(i, key): by_seed(group, key) for i, group in enumerate(groups) for key in columns if key in group.metrics}
    values = {of: found for of, found in values.items() if found}
    cells: list[dict[str, Cell]] = [{} for _ in groups]
    for (i, key), cell in zip(values, summarise_many([list(found.values()) for found in values.values()]), strict=True):
        cells[i][key] = cell
    ranks: list[dict[str, Standing]] = [{} for _ in groups]
    for key in ranked:
        rows = [i for i, of_group in enumerate(cells) if key in of_group and i not in apart]
        means = [cells[i][key].mean for i in rows]
        found = standings(compare_rows([values[i, key] for i in rows]), means, convention(key).direction)
        for i, standing in zip(rows, found, strict=True):
            ranks[i][key] = standing
    return Summary(cells, ranks, [mean_costs(group) for group in groups])


def mean_costs(group: Group) -> dict[str, float]:
    """Means, over the runs that have it, of whatever the records hold (wall_s, parameters ...), and ``energy_j``, processors and GPUs
    together."""
    means = {name: float(array[~np.isnan(array)].mean()) for name, array in group.cost.items() if not np.isnan(array).all()}
    energy = [means[name] for name in ("energy_cpu_j", "energy_gpu_j") if name in means]
    return means | ({"energy_j": sum(energy)} if energy else {})


def by_seed(group: Group, key: str) -> dict[int, float]:
    """Values of a metric by seed, of the runs that have it."""
    values = group.metrics[key]
    there = ~np.isnan(values)
    return dict(zip(group.seeds[there].tolist(), values[there].tolist(), strict=True))


def _plain(found: Summary) -> dict[str, Any]:
    """As JSON."""
    cells, ranks = (
        [{key: list(vars(said).values()) for key, said in of.items()} for of in groups] for groups in (found.cells, found.ranks)
    )
    return {"cells": cells, "ranks": ranks, "costs": found.costs}


def _read(tree: dict[str, Any]) -> Summary:
    """Undo :func:`_plain`."""
    cells = [{key: Cell(*numbers) for key, numbers in of_group.items()} for of_group in tree["cells"]]
    return Summary(cells, [{key: Standing(*said) for key, said in of_group.items()} for of_group in tree["ranks"]], tree["costs"])
