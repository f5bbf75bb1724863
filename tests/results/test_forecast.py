"""What full would cost: exact where time is in proportion, unknown where anything is not on record, never 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elboard.bench.card import TaskCard
from elboard.bench.cli.planning import Price, Prices
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.papers import paper
from elboard.bench.record import Record, write
from elboard.bench.registry import discover
from elboard.results import forecast
from elboard.results.store import groups
from elboard.results.tables import at_full, notes, render, table

COST = {"wall_s": 100.0, "train_s": 60.0, "evaluate_s": 30.0, "cpu_s": 50.0, "flops_per_example": 1.0}
CARD = TaskCard("a/b", "", (), "nll", ("nll",), "nll", work={"lite": (1000, 500), "full": (4000, 5000)})


def spec(budget: str, task: str = "ood/fashion-mnist", method: str = "vae", **options: Any) -> RunSpec:
    return resolve(task, method, budget=budget, overrides=options)


def store(folder: Path, task: str, method: str, cost: dict[str, float], budget: str = "lite", seeds: int = 2) -> None:
    metric = discover("task")[task].card.primary
    for seed in range(seeds):
        run = resolve(task, method, seed=seed, budget=budget)
        record = Record.of(run, f"{seed:012x}", "done", metrics={metric: 0.5}, primary=metric, cost=cost, ended="2026-01-01")
        write(record, folder / run.key / "attempts" / f"{record.attempt}.json")


def test_extrapolation_is_exact_on_a_constructed_example() -> None:
    lite, full = spec("lite", **{"train.epochs": 8}), spec("full", **{"train.epochs": 24})
    # 60 s of training x 3 x the epochs x 4 x the examples, 30 s of evaluation x 10 x the passes, 10 s of the rest: 1030 s of 100 s
    assert forecast.growth(COST, lite, full, CARD) == pytest.approx(10.3, abs=1e-12)
    closed = {name: value for name, value in COST.items() if name != "flops_per_example"}
    assert forecast.growth(closed, lite, full, CARD) == pytest.approx(5.5, abs=1e-12), "without gradients there is one epoch"


@pytest.mark.parametrize("lost", ["wall_s", "train_s", "evaluate_s"])
def test_what_is_not_on_record_is_unknown(lost: str) -> None:
    known = {name: value for name, value in COST.items() if name != lost}
    assert forecast.growth(known, spec("lite"), spec("full"), CARD) is None
    assert forecast.growth({**COST, "wall_s": 0.0}, spec("lite"), spec("full"), CARD) is None
    assert forecast.growth(COST, spec("smoke"), spec("full"), CARD) is None, "the card says nothing of smoke"
    assert forecast.growth(COST, spec("lite", **{"task.n_train": 7}), spec("full"), CARD) is None, "not the size that the card states"
    assert forecast.growth(COST, spec("lite", **{"train.epochs": 0}), spec("full"), CARD) is None, "nothing was trained"


@pytest.mark.parametrize("said", [{"work": {"full": 3}}, {"work": {"lite": (0, 5)}}, {"work": {"lite": "ab"}}, {"examples": {"lite": 100}}])
def test_cards_of_tasks_that_cannot_be_computed_with(said: dict) -> None:
    with pytest.raises(UserError, match=f"{next(iter(said))}: (full|lite)="):
        TaskCard("a/b", "", (), "nll", ("nll",), "nll", **said)


def test_hours_say_what_is_unknown() -> None:
    assert forecast.hours([3600.0, 1800.0], "CPU-hours") == "about 1.5 CPU-hours"
    assert forecast.hours([3600.0, None, None], "CPU-hours") == "about 1 CPU-hours, unknown for 2 more runs"
    assert forecast.hours([None], "CPU-hours") == "unknown for 1 run" and forecast.hours([], "CPU-hours") == "nothing to run"


def test_a_table_at_full_says_that_it_was_never_run_and_what_it_would_cost(tmp_path: Path) -> None:
    item = replace(paper("hvae-llr"), claims=paper("hvae-llr").claims[-1:], cells=())  # of which one run is asked for
    card = discover("task")["ood/fashion-mnist"].card
    *differences, unknown = at_full(item, [])
    assert differences == list(item.full.lines()) and unknown.startswith("never run here, its cost is unknown: ")
    store(tmp_path, "ood/fashion-mnist", "vae", COST)
    found = groups(tmp_path, shipped=False)
    each = COST["cpu_s"] * forecast.growth(COST, spec("lite"), spec("full"), card)
    said = f"never run here, about {5 * each / 3600:.3g} CPU-hours by extrapolation from lite ({forecast.ASSUMED})"
    assert at_full(item, found)[-1] == said, "five seeds"
    made = table(item, found, "full")
    assert said in notes(made) and said in render(made, "md") and said in render(made, "json")
    assert not table(item, found, "lite").full
    store(tmp_path, "ood/fashion-mnist", "vae", COST, "full")
    assert at_full(item, groups(tmp_path, shipped=False))[-1].startswith("3 runs not done here yet, about ")
    assert at_full(paper("mult-vae"), found)[0].startswith("no runs at full: ML-20M")
    assert at_full(replace(item, full=None), found) == ("no runs at full: the file of the paper asks for none",)


def test_prices_extrapolate_to_full_and_say_so(tmp_path: Path) -> None:
    store(tmp_path, "ood/fashion-mnist", "vae", COST)
    known = Prices([Record.of(spec("lite"), "a", "done", metrics={"auroc/mean": 0.5}, primary="auroc/mean", cost=COST)])
    card = discover("task")["ood/fashion-mnist"].card
    price = known.of(spec("full"))
    assert price.seconds == pytest.approx(100 * forecast.growth(COST, spec("lite"), spec("full"), card)) and price.extrapolated
    assert str(price) == f"~{price.seconds:.0f} s" and known.of(spec("lite")) == Price(100.0)
    assert known.of(spec("full", method="iwae")) == Price(None) and str(Price(None)) == "unknown"
