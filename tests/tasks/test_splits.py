"""Splits that are not at random: Omniglot by drawers, Frey faces along their film."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.registry import find
from elboard.bench.task import Task
from elboard.tasks.data import fetch
from elboard.tasks.generation import frey_faces, omniglot


def lite(name: str, **options: int) -> Task:
    entry = find("task", name)
    return entry.load()(entry.load().Config(**{**entry.budgets()["lite"]["task"], **options}), "lite", 0)


def test_no_drawer_is_in_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of drawings that say in two grey levels which character and which drawer they are."""
    x = np.zeros((242, 20, 28, 28), np.uint8)
    x[..., 0, 0], x[..., 0, 1] = np.arange(242)[:, None], np.arange(20)
    monkeypatch.setattr(omniglot.loaders, "omniglot", lambda: x)
    task = lite("generation/omniglot")
    train, valid = task.split_train(task.source("train"))
    parts = {"train": (train, range(14)), "valid": (valid, range(14, 16)), "test": (task.source("test"), range(16, 20))}
    for name, (drawings, drawers) in parts.items():
        found = drawings[:, 0, :2].tolist()
        assert sorted(map(tuple, found)) == [(c, d) for c in range(242) for d in drawers], name
        assert len({d for _, d in found[:100]}) == len(drawers), "the first of them are of all drawers"


def test_blocks_of_the_film_have_gaps_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of frames that say their number in two grey levels."""
    film = np.zeros((1965, 28, 20), np.uint8)
    film[:, 0, 0], film[:, 0, 1] = np.divmod(np.arange(1965), 256)
    monkeypatch.setattr(frey_faces.loaders, "frey_faces", lambda: film)
    task = lite("generation/frey-faces")
    data, test = loaded(task)
    frames = [(part[:, 0, 0, :2] * 255).round().long() @ torch.tensor([256, 1]) for part in (data.train["x"], data.valid["x"], test["x"])]
    assert [(int(part[0]), int(part[-1])) for part in frames] == [(0, 1464), (1515, 1714), (1765, 1964)]
    assert all((part.diff() == 1).all() for part in frames)
    assert data.spec.shape == (1, 28, 20) and data.spec.levels == 256


@pytest.mark.parametrize("name", ["omniglot", "frey-faces"])
def test_real_parts_are_as_large_as_the_budget_says(name: str) -> None:
    if not fetch.available(name):
        pytest.skip(f"{name} is neither cached nor in ELBOARD_DATA")
    task = lite(f"generation/{name}")
    data, test = loaded(task)
    c = task.config
    assert (len(data.train["x"]), len(data.valid["x"]), len(test["x"])) == (c.n_train, c.n_valid, c.n_test)
    assert sorted(test) == ["grey", "x"] and 0 <= data.train["x"].min() < data.train["x"].max() <= 1
