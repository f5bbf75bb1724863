"""Tasks of tokens that are no text: what their tokens are, and columns that follow from what was seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.tasks.parts.images import digits_of
from elboard.tasks.puzzles.sudoku import all_boards, obeys, shuffled_boards
from elboard.tasks.tokens.dependent import law, law_kl
from elboard.tasks.tokens.mnist14 import LEVELS, MNIST14Tokens, grey


class Same:
    """Draws what it was given, changes something in half of the steps, and takes all levels for equally likely."""

    exact = False

    def __init__(self, x: Tensor):
        self.x = x

    def sample_in(self, n: int, steps: int) -> tuple[Tensor, Tensor]:
        return self.x[:n], torch.full((n,), 8 / steps)

    def nats(self, x: Tensor, draws: int) -> Tensor:
        return torch.full((len(x), draws), x.shape[1] * math.log(LEVELS))


def test_images_as_tokens() -> None:
    entry = find("task", "tokens/mnist14")
    task = entry.load()(entry.load().Config(**(entry.budgets()["smoke"]["task"] | {"samples": 60})), "smoke", 0)
    data, test = loaded(task)
    assert data.spec.image == (14, 14) and data.spec.letters == 16 and data.train["x"].shape == (100, 196)
    x = data.train["x"]
    assert x.min() == 0 and x.max() == 15, "black and white are levels"
    pixels = digits_of("train", 100, 60, "smoke")[0].reshape(100, 14, 2, 14, 2).mean((2, 4)) / 255
    assert abs(grey(x)[:, 0].numpy() - pixels).max() < 0.5 / 15 + 0.5 / 255 + 1e-6
    seen = scored(MNIST14Tokens, task.observe(Same(test["x"]), data, test, []))
    assert seen.metrics["idle_share/e16"] == pytest.approx(0.5) and seen.metrics["idle_share/e64"] == pytest.approx(1 / 8)
    assert seen.metrics["bits_per_dim[bound]"] == pytest.approx(4, abs=1e-6)
    distances = [value for name, value in seen.metrics.items() if name.startswith("fd[")]
    assert len(distances) == 2 and max(map(abs, distances)) < 1e-4
    assert MNIST14Tokens.score(seen.evidence) == pytest.approx(seen.metrics, abs=1e-9)


def test_options_are_chosen_by_the_same_steps_whatever_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    entry, asked = find("task", "tokens/mnist14"), []
    task = entry.load()(entry.load().Config(**(entry.budgets()["smoke"]["task"] | {"steps": [4, 8]})), "smoke", 0)
    data, _ = loaded(task)
    method = Same(data.valid["x"].repeat(10, 1))
    monkeypatch.setattr(method, "sample_in", lambda n, steps: asked.append((n, steps)) or (method.x[:n], torch.zeros(n)))
    assert list(task.validate(method, data)) == ["fd[mnist-cnn,n=500]/e16"] and asked == [(60, 16)], "as many as validation images"
    task.validate(method, replace(data, valid={"x": data.valid["x"].repeat(10, 1)}))
    assert asked[1] == (500, 16)


# --- tokens that determine each other -----------------------------------------------------------------


def test_laws_are_those_of_the_paper() -> None:
    pair, p = law("pair", weighted=True)
    assert [tuple(row) for row in pair.tolist()] == [(k, (k + 1) % 10) for k in range(10)]
    assert p.tolist() == pytest.approx([(k + 1) / 55 for k in range(10)])
    assert [tuple(row) for row in law("d1")[0].tolist()] == [tuple((k + i) % 10 for i in range(4)) for k in range(10)]
    two = {tuple(row) for row in law("d2")[0].tolist()}
    assert two == {(k, (k + 1) % 10, m, (m + 1) % 10) for k in range(10) for m in range(10)}


def test_the_divergence_is_that_of_scipy_and_no_less_than_the_valid_share_says() -> None:
    p, counts = np.array([0.2, 0.3, 0.5]), np.array([150, 250, 300])
    assert law_kl(p, counts, 1000) == pytest.approx(scipy.stats.entropy(p, counts / counts.sum()) - math.log(0.7), abs=1e-12)
    assert law_kl(p, np.array([0, 500, 500]), 1000) == pytest.approx(0.2 * math.log(0.2 / 0.0005) + 0.3 * math.log(0.6), abs=1e-12)
    assert law_kl(np.full(10, 0.1), np.full(10, 87), 1000) == pytest.approx(-math.log(0.87))
    assert law_kl(p, (1000 * p).astype(int), 1000) == pytest.approx(0, abs=1e-12)


class Independent:
    """Fills with digits drawn uniformly, whatever stands beside them; a block after the other or not."""

    exact = False

    def fill(self, z: Tensor, steps: int, order: str, blocks: int = 1) -> Tensor:
        drawn = torch.randint(0, 10, z.shape, generator=torch.Generator().manual_seed(0))
        return torch.where(z == 10, drawn, z)

    def nats(self, x: Tensor, draws: int) -> Tensor:
        return torch.full((len(x), draws), x.shape[1] * math.log(10))


def test_independent_tokens_are_at_chance() -> None:
    entry = find("task", "tokens/dependent")
    for name, share in (("pair", 0.1), ("d2", 0.01)):
        task = entry.load()(entry.load().Config(law=name, samples=20_000, n_train=50), "smoke", 0)
        data, test = loaded(task)
        assert len(data.train["x"]) == data.spec.n_train == 50 and data.spec.letters == 10
        found = scored(entry.load(), task.observe(Independent(), data, test, []))
        assert found.metrics["valid_share/at-once"] == pytest.approx(share, abs=0.008)
        assert found.metrics["nelbo"] == pytest.approx(len(data.train["x"][0]) * math.log(10), abs=1e-5)
        assert ("valid_share/b2-e2" in found.metrics) == (name == "d2")
        assert entry.load().score(found.evidence) == pytest.approx(found.metrics, abs=1e-9)


# --- Sudoku -----------------------------------------------------------------------------------------


class Solver:
    """Takes the first board that agrees with what is given; ``wrong``: with its last cell changed."""

    def __init__(self, wrong: bool):
        self.wrong, self.boards = wrong, torch.from_numpy(all_boards())

    def fill(self, z: Tensor, steps: int, order: str, blocks: int = 1) -> Tensor:
        agree = ((z[:, None] == self.boards) | (z[:, None] == 4)).all(2)
        x = self.boards[agree.long().argmax(1)].clone()
        x[:, -1] = (x[:, -1] + self.wrong) % 4
        return x


def by_hand(board: list[int], side: int) -> bool:
    box = math.isqrt(side)
    rows = [board[side * i : side * (i + 1)] for i in range(side)]
    columns = [[row[i] for row in rows] for i in range(side)]
    boxes = [[rows[a + i][b + j] for i in range(box) for j in range(box)] for a in range(0, side, box) for b in range(0, side, box)]
    return all(sorted(group) == list(range(side)) for group in (*rows, *columns, *boxes))


def test_boards_obey_the_rules_and_there_are_as_many_as_there_are() -> None:
    small, large = all_boards(), shuffled_boards(60, np.random.default_rng(0))
    assert len({tuple(board) for board in small.tolist()}) == 288
    assert all(by_hand(board, 4) for board in small.tolist()) and all(by_hand(board, 9) for board in large.tolist())
    assert len({tuple(board) for board in large.tolist()}) == 60
    broken = torch.from_numpy(np.concatenate([small[:50], small[:50]]))
    broken[:50, 3] = (broken[:50, 3] + 1) % 4
    broken = torch.cat([broken, broken[50:, torch.randperm(16, generator=torch.Generator().manual_seed(0))]])
    assert obeys(broken, 4).tolist() == [by_hand(board, 4) for board in broken.tolist()]


def test_puzzles_are_solved_where_the_rules_are_obeyed_and_what_is_given_is_kept() -> None:
    entry = find("task", "puzzles/sudoku")
    task = entry.load()(entry.load().Config(n_train=400, n_valid=200, n_test=200, samples=20), "smoke", 0)
    data, test = loaded(task)
    parts = [{tuple(row) for row in of.tolist()} for of in (data.train["x"], data.valid["x"], test["x"])]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    puzzles = task.puzzles(test["x"])
    assert ((puzzles < 4).sum(1) == 6).all() and len({tuple(row) for row in (puzzles < 4).tolist()}) > 100
    for wrong in (False, True):
        found = scored(entry.load(), task.observe(Solver(wrong), data, test, []))
        assert {round(value, 6) for value in found.metrics.values()} == {1.0 - wrong}
        assert set(found.metrics) >= set(entry.card.metrics) and entry.load().score(found.evidence) == pytest.approx(found.metrics)

    class Forgetful(Solver):
        def fill(self, z: Tensor, steps: int, order: str, blocks: int = 1) -> Tensor:
            return self.boards[torch.arange(len(z)) % 288]

    assert task._solved(Forgetful(False), puzzles, 5, "top").mean() < 0.2, "another board is no solution"
