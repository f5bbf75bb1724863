"""Tasks of tokens that are no text: what their tokens are, and columns that follow from what was seen."""

from __future__ import annotations

import math

import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.tasks.parts.images import digits_of
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
    task = entry.load()(entry.load().Config(**entry.budgets()["smoke"]["task"]), "smoke", 0)
    data, test = loaded(task)
    assert data.spec.image == (14, 14) and data.spec.letters == 16 and data.train["x"].shape == (300, 196)
    x = data.train["x"]
    assert x.min() == 0 and x.max() == 15, "black and white are levels"
    pixels = digits_of("train", 300, 60, "smoke")[0].reshape(300, 14, 2, 14, 2).mean((2, 4)) / 255
    assert abs(grey(x)[:, 0].numpy() - pixels).max() < 0.5 / 15 + 0.5 / 255 + 1e-6
    seen = scored(MNIST14Tokens, task.observe(Same(test["x"]), data, test, []))
    assert seen.metrics["idle_share/e16"] == pytest.approx(0.5) and seen.metrics["idle_share/e64"] == pytest.approx(1 / 8)
    assert seen.metrics["bits_per_dim[bound]"] == pytest.approx(4, abs=1e-6)
    distances = [value for name, value in seen.metrics.items() if name.startswith("fd[")]
    assert len(distances) == 2 and max(map(abs, distances)) < 1e-4
    assert MNIST14Tokens.score(seen.evidence) == pytest.approx(seen.metrics, abs=1e-9)
