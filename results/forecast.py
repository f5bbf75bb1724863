"""What runs at budget full would cost, by extrapolation from runs at lite.

    seconds of a lite run  x  (train_s r_t + evaluate_s r_e + the rest) / wall_s
    r_t = examples of an epoch x epochs at full / those at lite;  r_e = passes of the evaluation at full / those at lite

where a task's card states examples and passes (``work``) of a run with the task's own options, and a method that is not trained by
gradients has one epoch. It assumes that time grows in proportion, validation with training, on one machine with one network.
Whatever is not on record or not on the card makes the cost unknown, which is None, never 0. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from elboard.bench.card import TaskCard
from elboard.bench.config import RunSpec, parse_seeds, resolve
from elboard.bench.identity import group_of
from elboard.bench.papers import Paper
from elboard.bench.registry import find
from elboard.results.board.summaries import mean_costs

if TYPE_CHECKING:
    from elboard.results.store import Group

ASSUMED = "an estimate: time in proportion to examples, epochs and evaluation, on one core like those of the lite runs"


def growth(cost: Mapping[str, float], lite: RunSpec, full: RunSpec, card: TaskCard) -> float | None:
    """How many times as long the run ``full`` takes as the run ``lite`` did, of which ``cost`` was recorded; None where it is not known."""
    work = [None if spec.options.get("task") else card.work.get(spec.budget) for spec in (lite, full)]
    seconds = [cost.get(name) for name in ("wall_s", "train_s", "evaluate_s")]
    if None in (*work, *seconds) or seconds[0] <= 0:
        return None
    (examples, passes), (more_examples, more_passes) = work
    wall, train, evaluate = seconds
    gradients = cost.get("flops_per_example") is not None
    epochs = lite.config["train"]["epochs"] if gradients else 1
    if epochs == 0:  # of a network that was not trained nothing can be said
        return None
    longer = full.config["train"]["epochs"] / epochs if gradients else 1.0
    rest = max(0.0, wall - train - evaluate)
    return (train * longer * more_examples / examples + evaluate * more_passes / passes + rest) / wall


def of_paper(paper: Paper, groups: Iterable[Group], paths: tuple[Path, ...] = ()) -> list[float | None]:
    """CPU-seconds of each run that ``paper`` asks for at full and that is not among ``groups``, with the runs that it starts from."""
    found = {group.group: group for group in groups}
    done = {key for group in found.values() for key in group.keys}
    costs: dict[str, float | None] = {}
    for task, of in paper.asked("full"):
        lite, full = (
            resolve(task, of.method, budget=budget, overrides=paper.options(of, budget), paths=tuple(map(str, paths)))
            for budget in ("lite", "full")
        )
        for seed in parse_seeds(paper.seeds_of(task, of)):
            small, large = lite.reseeded(seed), full.reseeded(seed)
            for pair in zip([*small.starts_from(), small], [*large.starts_from(), large], strict=True):
                if pair[1].key not in done and pair[1].key not in costs:
                    costs[pair[1].key] = _cpu_seconds(*pair, found, paths)
    return list(costs.values())


def _cpu_seconds(lite: RunSpec, full: RunSpec, groups: Mapping[str, Group], paths: tuple[Path, ...]) -> float | None:
    group = groups.get(group_of(lite.identity()))
    cost = mean_costs(group) if group is not None and group.n else {}
    longer = growth(cost, lite, full, find("task", full.task, paths).card)
    return None if longer is None or "cpu_s" not in cost else cost["cpu_s"] * longer


def hours(seconds: Iterable[float | None], unit: str) -> str:
    """``about 3.1 CPU-hours``; what is not known is said, of some runs or of all."""
    seconds = list(seconds)
    known, unknown = [one for one in seconds if one is not None], seconds.count(None)
    of = f"unknown for {unknown}{' more' if known else ''} run{'s' if unknown > 1 else ''}" if unknown else ""
    return ", ".join(filter(None, (f"about {sum(known) / 3600:.3g} {unit}" if known else "", of))) or "nothing to run"
