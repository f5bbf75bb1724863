"""Every card: what it says is what its code does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from elboard import results
from elboard.bench.card import fits
from elboard.bench.config import BUDGETS, resolve
from elboard.bench.kinds import catalogue
from elboard.bench.metrics.conventions import bare, better, convention, parse
from elboard.bench.registry import Entry, compatible, discover
from elboard.bench.source import tree

METHODS, TASKS = discover("method"), discover("task")
PAPERS = {paper["n"] for paper in json.loads((Path(results.__file__).parent / "reported" / "papers.json").read_text())}


def _same_config(entry: Entry) -> None:
    real = {field.name: field for field in dataclasses.fields(entry.load().Config)}
    read = {field.name: field for field in dataclasses.fields(entry.config_class())}
    assert set(real) == set(read)
    actual, described = entry.load().Config(), entry.config_class()()
    assert dataclasses.asdict(actual) == dataclasses.asdict(described)


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
    assert all(words["method"] in METHODS for words in card.bases.values())
    assert tree(entry.file).body[0].value.value.strip(), "the module has a docstring"
    _same_config(entry)


@pytest.mark.parametrize("name", TASKS)
def test_task(name: str) -> None:
    entry = TASKS[name]
    card = entry.card
    assert set(card.needs) <= set(catalogue().protocols) and set(entry.budgets()) == set(BUDGETS)
    assert card.primary in card.metrics and set(card.papers) <= PAPERS
    assert name.split("/")[0] == entry.file.parent.name
    for key in (*card.metrics, card.primary, card.selection):
        convention(key)
        assert parse(key).parameters == "" or bare(key) != key
    better(card.selection, 1.0, 0.0)
    better(card.primary, 1.0, 0.0)
    assert set(entry.load().checksums()) == set(card.data)
    _same_config(entry)


@pytest.mark.parametrize(("task", "method"), compatible())
def test_every_pair_resolves_at_every_budget(task: str, method: str) -> None:
    keys = {resolve(task, method, budget=budget).key for budget in BUDGETS}
    assert len(keys) == len(BUDGETS)
