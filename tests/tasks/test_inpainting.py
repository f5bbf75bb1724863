"""The inpainting task: masks, and metrics of completions that are right, spread or one and the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.kinds.inpainting import ConditionalBound
from elboard.bench.registry import find
from elboard.bench.task import Task
from elboard.tasks.inpainting.mnist import differences, masked


def make(**options: Any) -> Task:
    entry = find("task", "inpainting/mnist")
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)


def test_masks_hide_a_half_or_a_box() -> None:
    grey = torch.rand(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = masked({"x": grey}, torch.Generator().manual_seed(1))
    hidden = 1 - found["mask"]
    assert set(found["x"].unique().tolist()) == {0.0, 1.0} and found["mask"].shape == (400, 1, 28, 28)
    halves = 0
    for image in hidden[:, 0]:
        rows, columns = (image.amax(dim).nonzero().flatten() for dim in (1, 0))
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        assert image.sum() == height * width, "one block"
        half = {height, width} == {14, 28}
        assert half or (9 <= height <= 21 and abs(height - width) <= 1)
        halves += half
    assert 160 < halves < 240
    for at in ((0, 0), (0, 27), (27, 0), (27, 27)):
        assert 0.15 < hidden[:, 0, at[0], at[1]].mean() < 0.4, "each half as often as the others"


def test_differences_against_loops_over_pairs() -> None:
    noise = torch.Generator().manual_seed(0)
    completed, x = torch.rand(3, 4, 1, 5, 5, generator=noise), torch.rand(3, 1, 5, 5, generator=noise)
    hidden = (torch.rand(3, 1, 5, 5, generator=noise) < 0.4).float()
    found = differences(completed, x, hidden)
    for i in range(3):
        at = hidden[i, 0] > 0
        of = completed[i, :, 0][:, at]
        errors = [(row - x[i, 0][at]).square().mean().item() for row in of]
        apart = [(of[a] - of[b]).square().mean().item() for a in range(4) for b in range(a)]
        assert found["best_mse"][i].item() == pytest.approx(min(errors), rel=1e-5)
        assert found["pair_mse"][i].item() == pytest.approx(sum(apart) / len(apart), rel=1e-5)
    assert differences(completed[:, :1], x, hidden)["pair_mse"].tolist() == [0, 0, 0]


class Completer:
    """Completes by the truth (``right``), by noise (``noise``), or by a half everywhere (``mean``)."""

    def __init__(self, kind: str):
        self.kind = kind

    def complete(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        other = {"right": x, "noise": (torch.rand(len(x), k, *x.shape[1:]) < 0.5).float(), "mean": torch.full_like(x, 0.5)}[self.kind]
        return torch.where(mask[:, None] > 0, x[:, None], other if self.kind == "noise" else other[:, None]).expand(-1, k, -1, -1, -1)

    def log_missing(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        return -math.log(2) * (1 - mask).sum((1, 2, 3))


class Bounding(Completer, ConditionalBound):
    """Has a bound: minus the number of hidden pixels."""

    def bound(self, x: Tensor, mask: Tensor) -> Tensor:
        return -(1 - mask).sum((1, 2, 3))


def test_bounds_are_of_methods_that_have_them() -> None:
    task = make()
    data, test = loaded(task)
    with_bound, without = (scored(type(task), task.observe(cls("mean"), data, test, [])) for cls in (Bounding, Completer))
    hidden = (1 - test["mask"]).sum((1, 2, 3)).mean().item()
    assert with_bound.metrics["conditional_elbo"] == pytest.approx(-hidden, rel=1e-6) and "conditional_elbo" not in without.metrics
    assert type(task).score(with_bound.evidence)["conditional_elbo"] == pytest.approx(-hidden, rel=1e-6)


def test_the_board_tells_the_truth_from_noise_and_from_the_mean() -> None:
    task = make()
    data, test = loaded(task)
    found = {}
    for kind in ("right", "noise", "mean"):
        torch.manual_seed(0)
        scores = scored(type(task), task.observe(Completer(kind), data, test, [])).metrics
        found[kind] = {key.partition("[")[0]: value for key, value in scores.items()}
    assert found["right"]["best_mse"] == found["right"]["pair_mse"] == found["mean"]["pair_mse"] == 0
    assert found["mean"]["best_mse"] == pytest.approx(0.25) and found["noise"]["pair_mse"] == pytest.approx(0.5, abs=0.01)
    assert 0.35 < found["noise"]["best_mse"] < 0.5, "the best of twenty is better than one"
    assert found["right"]["class_entropy"] < found["noise"]["class_entropy"] and found["right"]["fd"] < 0.8 * found["noise"]["fd"]
    wanted = math.log(2) * (1 - test["mask"]).sum((1, 2, 3)).mean().item()
    assert found["noise"]["nll_missing"] == pytest.approx(wanted, rel=1e-5)
