"""Metrics of every task do not depend on the order of its examples, and are of as many as its card says."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest

from elboard.bench import evidence
from elboard.bench.metrics.conventions import bare, parse
from elboard.bench.registry import discover, find

DRAWN = {"kid"}  # of random subsets of the features' rows, as its docstring says: other rows, other subsets


@pytest.fixture
def arrays(request: pytest.FixtureRequest, root: Path) -> dict[str, np.ndarray]:
    """What the task of the test observed of its witness at smoke."""
    task = request.getfixturevalue("task")
    nets.in_full(task, nets.witness(task), root)
    return nets.observed[task]


def shuffled(cls: Any, given: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``given`` with the examples of each set in another order, those of arrays of one length alike; features in orders of their own."""
    found = dict(given)
    for examples in cls.sets.values():
        members = examples.among(given)
        orders = {len(array): rng.permutation(len(array)) for array in members.values()}
        found |= {name: array[orders[len(array)]] for name, array in members.items()}
    return found | {name: rng.permutation(array) for name, array in given.items() if name.endswith("_features")}


@pytest.mark.parametrize("task", nets.tasks())
def test_the_order_of_examples_does_not_matter(task: str, arrays: dict[str, np.ndarray]) -> None:
    cls, rng = find("task", task).load(), np.random.default_rng(0)
    with_features = [arrays] if any(name.endswith("_features") for name in arrays) else []
    for given in (cls.rounded(arrays), *with_features):  # halves have many ties
        other = shuffled(cls, given, rng)
        moved = [name for name in given if given[name].shape and not np.array_equal(given[name], other[name])]
        found, again = cls.score(given), cls.score(other)
        assert moved or not cls.sets, "evidence of examples, of which none changed places"
        assert found.keys() == again.keys()
        for name, value in found.items():
            if parse(name).name not in DRAWN:
                assert again[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("task", nets.tasks())
def test_cards_say_of_how_many_examples_metrics_are(task: str, arrays: dict[str, np.ndarray]) -> None:
    card, cls = discover("task")[task].card, find("task", task).load()
    kept, checked, counted = cls.rounded(arrays), set(), False
    for key in cls.score(kept):
        said = next((n for pattern, n in card.examples.get("smoke", {}).items() if fnmatch.fnmatchcase(bare(key), pattern)), None)
        of = evidence.examples_of(cls.sets, key)
        counted |= bool(of)
        if said is not None and of:
            assert (said if isinstance(said, int) else int(said.split()[0])) == cls.sets[of].count(kept), key
            checked.add(said)
    assert checked or not card.examples or not counted, "where evidence keeps sums alone nothing is counted"
