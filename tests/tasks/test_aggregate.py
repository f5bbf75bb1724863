"""The aggregate posterior and the noise of gradients: methods whose codes and gradients are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.bench.task import Task


def smoke(name: str, **options: int) -> Task:
    entry = find("task", name)
    return entry.load()(entry.load().Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", 0)


class Coded:
    """Codes ``scale`` as far apart as those of the prior, drawn from the image; their variance is what is left of it."""

    def __init__(self, scale: float):
        self.scale = scale

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = [torch.randn(4, generator=torch.Generator().manual_seed(int(image.flatten().nonzero().square().sum()))) for image in x]
        variance = max(1 - self.scale**2, 1e-4)
        return self.scale * torch.stack(rows), torch.full((len(x), 4), variance).log()

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        return {"elbo": -x.flatten(1).sum(1), "kl": torch.zeros(len(x)), "reconstruction": x.flatten(1).sum(1)}


def test_codes_that_are_set_apart_are_told_from_those_of_the_prior() -> None:
    task = smoke("aggregate/mnist", n_test=300, n_train=300)
    data, test = loaded(task)
    found = {scale: scored(type(task), task.observe(Coded(scale), data, test, [])).metrics for scale in (0.9, 3.0)}
    for part in ("", "/train"):
        assert abs(found[0.9][f"aggregate_mmd2{part}"]) < 0.01 < 0.05 < found[3.0][f"aggregate_mmd2{part}"]
        assert found[0.9][f"log_det_gap{part}"] < 1 and found[3.0][f"log_det_gap{part}"] == pytest.approx(8.8, abs=1.5)
    assert found[0.9]["reconstruction[n=300]"] == pytest.approx(test["x"].flatten(1).sum(1).mean().item(), rel=1e-6)
    assert task.validate(Coded(3.0), data)["aggregate_mmd2"] == pytest.approx(found[3.0]["aggregate_mmd2"], abs=0.1)


def test_training_images_are_those_that_were_trained_on_and_test_images_are_not() -> None:
    task = smoke("aggregate/mnist")
    data, test = loaded(task)
    assert len(test["train"]) == len(data.train["x"]) and set(test["train"].unique().tolist()) == {0, 1}
    assert (test["train"] <= data.train["x"].ceil()).all() and len(test["x"]) == task.config.n_test


class Noisy:
    """Gradients of 1, ..., 50 with independent noise of known deviation."""

    estimators = ("b", "a")

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        return {"elbo": -x.flatten(1).sum(1)}

    def gradients(self, x: Tensor, estimator: str, draws: int) -> Tensor:
        return torch.arange(1.0, 51.0) + {"b": 0.5, "a": 2.0}[estimator] * torch.randn(draws, 50)


@pytest.mark.parametrize("draws", [80, 250])
def test_the_variance_of_gradients_is_that_of_their_noise(draws: int) -> None:
    """Whether they are held at once or drawn twice; the run's own randomness is left as it was."""
    task = smoke("gradients/mnist", draws=draws)
    data, test = loaded(task)
    torch.manual_seed(0)
    observed = task.observe(Noisy(), data, test, [])
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
    scores: Any = scored(type(task), observed)
    assert scores.metrics["gradient_variance/b"] == pytest.approx(50 * 0.25, rel=0.1)
    assert scores.metrics["gradient_variance/a"] == pytest.approx(50 * 4, rel=0.1)
    assert scores.metrics["variance_ratio/a-b"] == pytest.approx(16, rel=0.2)
    assert scores.metrics["variance_ratio/a-b"] * scores.metrics["variance_ratio/b-a"] == pytest.approx(1)
    assert all(len(observed.arrays[f"deviation_{name}"]) == draws for name in ("a", "b"))
    assert type(task).score(scores.evidence) == pytest.approx(scores.metrics)
