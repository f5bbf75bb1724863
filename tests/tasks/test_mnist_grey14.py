"""MNIST of 14 x 14 pixels: what its pixels are, and that exact likelihoods and bounds are never one metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.evidence import scored
from elboard.bench.metrics.conventions import bare
from elboard.tasks.data.task import halved
from elboard.tasks.generation.mnist_grey import MNISTGrey
from elboard.tasks.generation.mnist_grey14 import MNISTGrey14

SMOKE = {"n_train": 60, "n_valid": 20, "n_test": 30, "nll_k": 4, "nll_n": 10, "samples": 600}


class Uniform(torch.nn.Module):
    """All levels of all pixels alike, and ``wrong`` nats too little."""

    def __init__(self, exact: bool, wrong: float = 0.0):
        super().__init__()
        self.exact, self.wrong, self.asked = exact, wrong, []

    def log_evidence(self, x: torch.Tensor, k: int) -> torch.Tensor:
        self.asked.append(k)
        return torch.full((len(x),), -x[0].numel() * np.log(256.0) - self.wrong)

    def elbo(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        log_p = self.log_evidence(x, 1)
        return {"elbo": log_p, "kl": torch.zeros(len(x)), "reconstruction": -log_p}

    def sample(self, n: int) -> torch.Tensor:
        return torch.randint(256, (n, 1, self.side, self.side)) / 255


def observed(cls: type, exact: bool, history: list[dict], **more: object):
    task = cls(cls.Config(**SMOKE, **more), "smoke", 0)
    data, test = loaded(task)
    method = Uniform(exact)
    method.side = data.spec.shape[1]
    return scored(cls, task.observe(method, data, test, history)), task, data, test


def test_pixels_are_means_of_four_rounded_half_up() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    found = halved(x)
    assert found.shape == (5, 14, 14) and found.dtype == np.uint8
    for i, j in ((0, 0), (3, 7), (13, 13)):
        means = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(5, 4).astype(float).mean(1)
        np.testing.assert_array_equal(found[:, i, j], np.floor(means + 0.5))
    assert halved(np.full((1, 28, 28), 255, np.uint8)).min() == 255


@pytest.mark.parametrize("cls", [MNISTGrey14, MNISTGrey])
def test_exact_values_and_bounds_are_never_one_metric(cls: type) -> None:
    exact, bound = (observed(cls, of, [])[0].metrics for of in (True, False))
    assert exact["bits_per_dim[exact,n=10]"] == pytest.approx(8) and bound["bits_per_dim[k=4,n=10]"] == pytest.approx(8)
    for name in ("nll", "bits_per_dim", "elbo", "kl", "reconstruction"):
        keys = [{key for key in of if bare(key) == name} for of in (exact, bound)]
        assert keys[1] and not keys[0] & keys[1]
    assert not {bare(key) for key in exact} & {"elbo", "kl", "reconstruction"}, "what is exact is no bound"


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_followed(exact: bool) -> None:
    """The value after a quarter of the epochs, the gap after the last one; both again from evidence."""
    history = [{"epoch": e} | ({"track/test": 5.0 - e, "track/train": 5.0 - 2 * e} if e % 2 else {}) for e in range(8)]
    scores, *_ = observed(MNISTGrey14, exact, history, track_n=25)
    stated = "[exact,n=25]" if exact else "[k=50,n=25]"
    assert scores.metrics[f"bits_per_dim{stated}/early"] == 4.0, "epoch 1 is the second of eight"
    assert scores.metrics[f"bits_gap{stated}"] == pytest.approx((5 - 7) - (5 - 14))
    again = MNISTGrey14.score(scores.evidence, [*scores.metrics])
    kept = [key for key in scores.metrics if bare(key) in ("nll", "bits_per_dim", "bits_per_dim/early", "bits_gap")]
    assert len(kept) == 4 and all(again[key] == scores.metrics[key] for key in kept)


def test_a_quarter_that_was_not_validated_is_the_next_one_that_was() -> None:
    history = [{"epoch": e} | ({"track/test": float(e), "track/train": 0.0} if e in (2, 4) else {}) for e in range(5)]
    scores, *_ = observed(MNISTGrey14, True, history)
    assert scores.metrics["bits_per_dim[exact,n=30]/early"] == 2.0 and scores.metrics["bits_gap[exact,n=30]"] == 4.0


def test_what_is_tracked() -> None:
    """Bits of test and of training images, by the likelihood or the bound of 50 samples."""
    _, task, data, test = observed(MNISTGrey14, False, [], track_n=25)
    method = Uniform(False, wrong=196 * np.log(2.0))
    found = task.track(method, data, test)
    assert found == pytest.approx({"test": 9.0, "train": 9.0}) and set(method.asked) == {50}


def test_as_many_test_as_training_images_are_tracked() -> None:
    """Where training images are fewer the key's n is theirs, and test images beyond it count for nothing."""
    _, task, data, test = observed(MNISTGrey14, True, [])
    few = replace(data, train={"x": data.train["x"][:20]})
    seen = []
    method = Uniform(True)
    method.log_evidence = lambda x, k: (seen.append(len(x)), torch.zeros(len(x)))[1]
    task.track(method, few, test)
    assert seen == [20, 20]
    method = Uniform(True)
    method.side = 14
    history = [{"epoch": 0, "track/test": 1.0, "track/train": 1.0}]
    assert "bits_gap[exact,n=20]" in scored(MNISTGrey14, task.observe(method, few, test, history)).metrics
