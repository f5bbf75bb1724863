"""Every card: what it says is what its code does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elboard import results
from elboard.bench import check
from elboard.bench.card import fits
from elboard.bench.config import BUDGETS, resolve
from elboard.bench.kinds import catalogue
from elboard.bench.metrics.conventions import bare, parse
from elboard.bench.registry import compatible, discover

METHODS, TASKS = discover("method"), discover("task")
PAPERS = {paper["n"] for paper in json.loads((Path(results.__file__).parent / "reported" / "papers.json").read_text())}


@pytest.mark.parametrize(("kind", "name"), [("method", name) for name in METHODS] + [("task", name) for name in TASKS])
def test_what_is_read_is_what_the_code_does(kind: str, name: str) -> None:
    assert check.collect(name, check.of_entry(discover(kind)[name])) == []


@pytest.mark.parametrize("name", METHODS)
def test_method(name: str) -> None:
    entry = METHODS[name]
    cls, card = entry.load(), entry.card
    real = {protocol for protocol, base in catalogue().protocols.items() if issubclass(cls, base)}
    assert card.offers and set(card.offers) == real, f"{name}: what its source was read to offer is not what its class is"
    assert card.home in TASKS and fits(card, TASKS[card.home].card)
    assert card.family == entry.file.parent.name
    assert not card.paper or card.paper in PAPERS
    assert card.paper or card.cite, "a method has a source"
    assert card.home, "a method has a home task"
    assert card.defaults, "a card says how its defaults were found"
    assert bool(card.oracle) == any(name.endswith("Oracle") for name in card.offers), "a card says what of the test data it is handed"
    assert card.defaults != "none" or not entry.config_class().__dataclass_fields__ or card.bases, "`none` is of methods without options"


@pytest.mark.parametrize("name", TASKS)
def test_task(name: str) -> None:
    entry = TASKS[name]
    card = entry.card
    assert set(card.needs) <= set(catalogue().protocols) and {"smoke", "full"} <= set(entry.budgets()) <= set(BUDGETS)
    assert set(card.papers) <= PAPERS
    assert name.split("/")[0] == entry.file.parent.name
    for key in (*card.metrics, card.primary, card.selection):
        assert parse(key).parameters == "" or bare(key) != key


@pytest.mark.parametrize("task", TASKS)
def test_every_pair_resolves_at_every_budget(task: str) -> None:
    for method in (method for of, method in compatible() if of == task):
        keys = {resolve(task, method, budget=budget).key for budget in TASKS[task].budgets()}
        assert len(keys) == len(TASKS[task].budgets()), method
