"""What a board says of its groups (cells and standings), kept where they are asked for again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from elboard.bench.metrics.conventions import convention
from elboard.results.kept import digest, kept
from elboard.results.stats import Cell, Standing, compare_rows, standings, summarise_many
from elboard.results.store import Group

T = TypeVar("T")


@dataclass(frozen=True)
class Summary:
    """Of each group of a board: ``cells`` by metric, where it stands by each ranked metric."""

    cells: Sequence[Mapping[str, Cell]]
    ranks: Sequence[Mapping[str, Standing]]


class Kept(Mapping[str, T], Generic[T]):
    """What ``make`` makes of the numbers that were kept by name, each when it is asked for: of a board few are shown."""

    def __init__(self, numbers: Mapping[str, Sequence[float]], make: Callable[[Sequence[float]], T]) -> None:
        self._numbers, self._make = numbers, make

    def __getitem__(self, name: str) -> T:
        return self._make(self._numbers[name])

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def summarise_board(
    groups: Sequence[Group], columns: Sequence[str], ranked: Sequence[str], kept_in: Path | None, apart: Sequence[int] = ()
) -> Summary:
    """Summary of ``groups``: cells of the metrics ``columns``, standings by the metrics ``ranked`` among them.

    ``kept_in``: folder of the cache; None keeps nothing. ``apart``: places of groups that are ranked neither themselves nor against.
    """
    if kept_in is None:
        return _compute(groups, columns, ranked, apart)
    about = ["summary", list(columns), list(ranked), len(groups), digest(*groups)]
    about += [list(apart)] if apart else []
    said = kept(kept_in, about, lambda: vars(_compute(groups, columns, ranked, apart)))
    return Summary([Kept(of, Cell._make) for of in said["cells"]], [Kept(of, Standing._make) for of in said["ranks"]])


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
    return Summary(cells, ranks)


def mean_costs(group: Group) -> dict[str, float]:
    """Means, over the runs that have it, of whatever the records hold (wall_s, parameters ...), and ``energy_j``, processors and GPUs
    together."""
    whole = {name: float(array.sum()) / len(array) for name, array in group.cost.items()}  # numpy's mean, in a third of its time
    means = {name: value if value == value else float(np.nanmean(group.cost[name])) for name, value in whole.items()}
    energy = [means[name] for name in ("energy_cpu_j", "energy_gpu_j") if name in means]
    return means | ({"energy_j": sum(energy)} if energy else {})


def by_seed(group: Group, key: str) -> dict[int, float]:
    """Values of a metric by seed, of the runs that have it."""
    values = group.metrics[key]
    there = ~np.isnan(values)
    return dict(zip(group.seeds[there].tolist(), values[there].tolist(), strict=True))
