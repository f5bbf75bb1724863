"""Tasks of samplers: what they hand methods, and their metrics of samples that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.kinds.sampling import SteppedGenerator, StepSampler
from elboard.bench.registry import find
from elboard.tasks.sampling.base import Sampling


def made(name: str, **options: Any) -> Sampling:
    entry = find("task", name)
    cls = entry.load()
    task = cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)
    task.card = entry.card
    return task


class Copies(StepSampler):
    """The test images in their own order, with noise that falls with evaluations and rises with the distance of guidance from 2."""

    def __init__(self, x: Tensor):
        self.x, self.asked = x, []

    def draw(self, y: Tensor, evaluations: int, guidance: float) -> Tensor:
        self.asked.append((evaluations, guidance))
        noise = torch.randn(self.x.shape, generator=torch.Generator().manual_seed(0))
        return self.x[: len(y)] + (2 / evaluations + 0.2 * abs(guidance - 2)) * noise[: len(y)]

    def reference(self, y: Tensor, evaluations: int) -> Tensor:
        self.asked.append((evaluations, "reference"))
        return self.draw(y, 100, 2.0)


def test_settings_and_ratios() -> None:
    task = made("sampling/mnist14", n_test=300, evaluations=[4, 20], reference=30)
    data, test = loaded(task)
    method = Copies(test["x"])
    seen = task.observe(method, data, test, [])
    assert [of for of in method.asked if of[0] != 100] == [(30, "reference"), (4, 1.0), (20, 1.0)]
    found = task.score(seen.arrays)
    (key,) = [name.partition("[")[2].partition("]")[0] for name in found if name.startswith("fd[") and name.endswith("/reference")]
    assert key.endswith("n=300")
    for e in (4, 20):
        assert found[f"fd_ratio[{key}]/e{e}"] == pytest.approx(found[f"fd[{key}]/e{e}"] / found[f"fd[{key}]/reference"])
    assert found[f"fd[{key}]/e4"] > found[f"fd[{key}]/e20"] > found[f"fd[{key}]/reference"] > 0


def test_a_copy_of_the_test_images_is_no_distance_away() -> None:
    task = made("sampling/mnist14", n_test=200, evaluations=[10**9])
    data, test = loaded(task)
    method = Copies(test["x"])
    method.draw = lambda y, evaluations, guidance: test["x"]  # type: ignore[method-assign]
    found = task.score(task.observe(method, data, test, []).arrays)
    (fd,) = [value for name, value in found.items() if name.startswith("fd[") and name.endswith("/e1000000000")]
    assert fd == pytest.approx(0, abs=1e-3) and found["diversity/e1000000000"] == pytest.approx(1)


def test_what_follows_from_weights() -> None:
    task = made("sampling/mnist14-guidance", n_test=300, evaluations=50)
    data, test = loaded(task)
    method = Copies(test["x"])
    found = task.score(task.observe(method, data, test, []).arrays)
    assert method.asked == [(50, w) for w in (1.0, 1.5, 2.0, 3.0, 5.0)]
    of = {name.partition("[")[0] + name.partition("]")[2]: value for name, value in found.items()}
    assert of["fd_fall"] == pytest.approx(of["fd/w1"] - of["fd/w2"]) and of["fd_fall"] > 0
    assert of["fd_rise"] == pytest.approx(of["fd/w5"] - of["fd/w2"]) and of["fd_rise"] > 0
    assert of["best_guidance"] == 2.0 and -1 <= of["guidance_trend"] <= 1


@pytest.mark.parametrize("rising", [True, False])
def test_the_trend_is_of_weights_and_accuracies(rising: bool) -> None:
    cls = find("task", "sampling/mnist14-guidance").load()
    hits = np.zeros((10, 3), np.uint8)
    for i, k in enumerate((2, 5, 9)):
        hits[:k, i] = 1
    arrays = {
        "fd[mnist-cnn": np.array([3.0, 1.0, 2.0]),
        "samples": np.array(10),
        "hits": hits if rising else hits[:, ::-1],
        "variance": np.array([1.0, 0.8, 0.5]),
        "real_variance": np.array(2.0),
        "evaluations": np.array([50] * 3),
        "guidance": np.array([1.0, 2.0, 3.0]),
    }
    found = cls.measure(arrays, None)
    assert found["guidance_trend"] == (1 if rising else -1) and found["diversity/w3"] == 0.25
    assert found["fd_fall[mnist-cnn,n=10]"] == 2 and found["fd_rise[mnist-cnn,n=10]"] == 1 and found["best_guidance[mnist-cnn,n=10]"] == 2


@pytest.mark.parametrize("weights", [[1.0, 2.0, 5.0], [5.0, 1.0, 2.0], [0.5, 5.0, 2.0]])
def test_falls_and_rises_are_of_weights_and_not_of_places(weights: list[float]) -> None:
    """No guidance, the middle weight and the largest one, in whatever order they are given."""
    cls, fd = find("task", "sampling/mnist14-guidance").load(), {0.5: 9.0, 1.0: 3.0, 2.0: 1.0, 5.0: 1.5}
    arrays = {
        "fd[mnist-cnn": np.array([fd[w] for w in weights]),
        "samples": np.array(10),
        "hits": np.ones((10, 3), np.uint8),
        "variance": np.ones(3),
        "real_variance": np.array(1.0),
        "evaluations": np.array([50] * 3),
        "guidance": np.array(weights),
    }
    found = cls.measure(arrays, None)
    assert found["fd_rise[mnist-cnn,n=10]"] == 0.5
    assert found.get("fd_fall[mnist-cnn,n=10]") == (2.0 if 1.0 in weights else None)


def test_classes_are_those_that_were_asked_for() -> None:
    task = made("sampling/mnist14", n_test=200, evaluations=[10])
    data, test = loaded(task)
    true, seen = Copies(test["x"]), {}
    for name, order in (("true", slice(None)), ("turned", torch.arange(199, -1, -1))):
        true.draw = lambda y, evaluations, guidance, at=order: test["x"][at]  # type: ignore[method-assign]
        found = task.score(task.observe(true, data, test, []).arrays)
        (seen[name],) = [value for key, value in found.items() if key.startswith("control_accuracy") and key.endswith("/e10")]
    assert seen["true"] > 0.5 > seen["turned"]


class Blurred(SteppedGenerator):
    """The test images in their own order, with noise that falls with evaluations."""

    def __init__(self, x: Tensor, noise: float):
        self.x, self.noise, self.asked = x, noise, []

    def sample_in(self, n: int, evaluations: int) -> Tensor:
        self.asked.append((n, evaluations))
        noise = torch.randn(self.x.shape, generator=torch.Generator().manual_seed(0))
        return self.x[:n] + self.noise / evaluations * noise[:n]


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_distances_by_evaluations(noise: float) -> None:
    """None of copies; ratios are to the reference, of as many samples as the key says."""
    task = made("sampling/fashion14", n_test=200, samples=200, evaluations=[4, 20], reference=30)
    data, test = loaded(task)
    method = Blurred(test["x"], noise)
    found = task.score(task.observe(method, data, test, []).arrays)
    assert method.asked == [(200, 30), (200, 4), (200, 20)]
    (key,) = {name.partition("[")[2].partition("]")[0] for name in found}
    assert key.startswith("fashion-cnn") and key.endswith("n=200")
    fd = [found[f"fd[{key}]/{of}"] for of in ("reference", "e20", "e4")]
    if noise:
        assert 0 < fd[0] < fd[1] < fd[2]
        assert found[f"fd_ratio[{key}]/e4"] == pytest.approx(fd[2] / fd[0])
        assert found[f"log_fd[{key}]/e20"] == pytest.approx(np.log(fd[1]))
    else:
        assert fd == pytest.approx([0, 0, 0], abs=1e-3)


def test_unconditional_models_are_drawn_from_on_the_splits_they_were_trained_on() -> None:
    """Of ``samples/fashion14``, so that what a density is fitted to and what chooses were no test images there."""
    ours, theirs = (made(f"{family}/fashion14", n_train=500, n_valid=150, n_test=150) for family in ("sampling", "samples"))
    (data, test), (of, tested) = loaded(ours), loaded(theirs)
    for mine, other in ((data.train, of.train), (data.valid, of.valid), (test, tested)):
        assert torch.equal(mine["x"], other["x"])
    entries = [find("task", name) for name in ("sampling/fashion14", "samples/fashion14")]
    for budget in ("lite", "full"):
        sizes = [entry.load().Config(**entry.budgets()[budget]["task"]) for entry in entries]
        assert all(len({getattr(c, name) for c in sizes}) == 1 for name in ("n_train", "n_valid", "n_test"))
