"""Sequences of vectors: what is seen, columns that follow from it, and chains of operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.kinds.sequences import LatentSequence, SequenceCompleter
from elboard.bench.registry import discover, find
from elboard.tasks.parts.depth import depth_of
from elboard.tasks.parts.features import classifier
from elboard.tasks.sequences.mnist_rows import MNISTRows


def test_a_chain_is_as_long_as_what_waits_for_each_other() -> None:
    x = torch.ones(4)
    assert depth_of(lambda: x) == 0 and depth_of(lambda: x.view(2, 2).T[0]) == 0, "views are no work"
    assert depth_of(lambda: ((x + 1) * 2).exp()) == 3
    assert depth_of(lambda: [x + i for i in range(9)]) == 1, "side by side"
    assert depth_of(lambda: torch.cat([x + 1, x.exp().exp()])) == 3, "the longest one counts"
    assert depth_of(lambda: torch.zeros(3)[1:].add_(1).mul_(2).view(2, 1) + 1) == 4, "in place too"

    def written(n: int) -> Tensor:
        whole = torch.zeros(n)
        for i in range(1, n):
            whole[i] = whole[i - 1] * 2
        return whole

    assert [depth_of(lambda n=n: written(n)) for n in (2, 5)] == [3, 9], "each number by the one before"


def test_no_chain_is_lost_or_found_anew() -> None:
    """By what Python is told on the way, by layers that are one call to a library, by operations that return nothing, by addresses of
    storages that are gone."""
    x = torch.ones(4)

    def told(n: int) -> Tensor:
        y = x
        for _ in range(n):
            y = torch.full((4,), y.sum().item())
        return y

    assert [depth_of(lambda n=n: told(n)) for n in (2, 5)] == [6, 15]
    for layer in (torch.nn.LSTM(4, 4), torch.nn.GRU(4, 4)):
        depths = [depth_of(lambda n=n, layer=layer: layer(torch.zeros(n, 1, 4))) for n in (5, 10, 20)]
        assert depths[2] - depths[1] == 2 * (depths[1] - depths[0]) >= 20
    assert torch.backends.mkldnn.enabled and torch.backends.cudnn.enabled, "as before"

    def together(n: int) -> list[Tensor]:
        of = [torch.ones(2), torch.ones(2)]
        for _ in range(n):
            torch._foreach_add_(of, 1.0)
        return of

    assert depth_of(lambda: together(5)) == 6

    def forgotten() -> Tensor:
        y = x
        for _ in range(50):
            y = y * 1
        del y
        y = torch.tensor([1.0, 2.0, 3.0, 4.0])  # where the last one was
        for _ in range(10):
            y = y * 1
        return y

    assert depth_of(forgotten) == 50


@pytest.mark.parametrize(
    ("name", "options"),
    [("vssm", {}), ("ar-vssm", {}), ("ar-sequence", {"backbone": "ssm"}), ("ar-sequence", {"backbone": "transformer"})],
)
def test_what_drawing_costs_by_length(name: str, options: dict[str, Any]) -> None:
    """A scan has two operations more in each layer for twice the length; one step after the other waits for all of those before."""
    entry, layers = discover("method")[name], 2
    spec = loaded_task()[1].spec
    method = entry.load()(entry.config_class()(**({"width": 8, "depth": layers} | options)), spec)
    depths = [depth_of(lambda n=n: method.resized(n).sample(1)) for n in (8, 16, 32)]
    if name == "ar-sequence":
        assert depths[2] - depths[1] == 2 * (depths[1] - depths[0]) > 100 and depths[2] == pytest.approx(4 * depths[0], rel=0.05)
        assert depth_of(lambda: method.complete(torch.zeros(1, 14, 28))) > depth_of(lambda: method.complete(torch.zeros(1, 21, 28))) > 100
    else:
        assert depths[2] - depths[1] == depths[1] - depths[0] == 2 * layers
    assert depth_of(lambda: method.resized(8).sample(3)) == pytest.approx(depths[0], abs=2), "samples are drawn side by side"


def loaded_task(**options: Any) -> tuple[Any, Any, Any]:
    entry = find("task", "sequences/mnist-rows")
    task = entry.load()(entry.load().Config(**(entry.budgets()["smoke"]["task"] | options)), "smoke", 0)
    return task, *loaded(task)


class Same(LatentSequence, SequenceCompleter):
    """Draws the sequences that it was given, and goes on with what has begun as these do."""

    exact = False

    def __init__(self, x: Tensor, spec: Any):
        self.x, self.spec = x, spec

    def sample(self, n: int) -> Tensor:
        return self.x[:n].roll(7, 0) + torch.zeros(n, 1, 1)

    def complete(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.x[: len(x), x.shape[1] :]], 1)

    def log_p(self, x: Tensor) -> Tensor:
        return -x.flatten(1).sum(1)

    def divergences(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[1]).expand(len(x), -1).float()

    def resized(self, length: int) -> Any:
        other = Same(torch.zeros(1, length, self.spec.shape[1]), self.spec)
        other.eval = lambda: other
        return other


def test_rows_and_what_follows_from_them() -> None:
    task, data, test = loaded_task(samples=60)
    assert data.spec.shape == (28, 28) and data.train["x"].shape == (200, 28, 28) and set(data.train) == {"x"}
    assert set(test["x"].unique().tolist()) == set(data.valid["x"].unique().tolist()) == {0, 1}
    assert len(data.train["x"].unique()) > 2, "training images are binarised as they are shown"
    seen = scored(MNISTRows, task.observe(Same(test["x"], data.spec), data, test, []))
    found, network = seen.metrics, classifier("mnist-cnn", "cpu")[0]
    x, y = test["x"][:40], test["y"][:40]
    real = (classifier("mnist-cnn", "cpu")[1](x[:, None]).argmax(1) == y).float().mean().item()
    mixed = torch.cat([x[:, :14], x.roll(7, 0)[:, 14:]], 1)
    other = (classifier("mnist-cnn", "cpu")[1](mixed[:, None]).argmax(1) == y).float().mean().item()
    assert abs(found[f"fd[{network},n=60]"]) < 1e-3, "the same in another order"
    assert found["elbo"] == pytest.approx(-x.sum((1, 2)).mean().item(), rel=1e-6) and "nll[exact]" not in found
    assert found["kl"] == 27 * 28 / 2 and found["kl/first-half"] == 13 * 14 / 2
    assert found[f"completion_accuracy[{network}]"] == pytest.approx(real, abs=1e-6)
    assert found[f"completion_gain[{network}]"] == pytest.approx(real - other, abs=1e-6) and real > other
    assert MNISTRows.score(seen.evidence) == pytest.approx(found, abs=1e-9)
    exact = Same(test["x"], data.spec)
    exact.exact = True
    assert scored(MNISTRows, task.observe(exact, data, test, [])).metrics["nll[exact]"] == -found["elbo"]
