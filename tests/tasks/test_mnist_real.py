"""MNIST as real vectors: what the vectors are, and metrics that follow from what a run leaves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.registry import find
from elboard.results.measured import metric_key
from elboard.tasks.density.mnist_real import MNISTReal

SMOKE = {"n_train": 60, "n_valid": 20, "n_test": 30, "nll_k": 4, "nll_n": 10, "samples": 20}


def smoke() -> MNISTReal:
    task = find("task", "density/mnist-real").load()
    return task(task.Config(**SMOKE), "smoke", 0)


def test_a_pixel_is_its_level_and_noise_of_one_level() -> None:
    (data, test), (again, _) = loaded(smoke()), loaded(smoke())
    assert data.spec.likelihood == "gaussian" and data.spec.shape == (1, 28, 28)
    assert torch.equal(data.train["x"], again.train["x"]) and data.on_batch is None
    noise = test["x"] * 256 - test["grey"] * 255
    assert test["x"].min() >= 0 and test["x"].max() <= 1 and noise.min() > -1e-3 and noise.max() < 1 + 1e-3
    assert noise.mean().item() == pytest.approx(0.5, abs=0.02) and noise.std().item() == pytest.approx(math.sqrt(1 / 12), abs=0.02)
    parts = [data.train["x"][:20], data.valid["x"], test["x"][:20]]
    noises = [(part * 256) % 1 for part in parts]
    assert not torch.equal(noises[0], noises[1]) and not torch.equal(noises[1], noises[2]), "each split has noise of its own"


def test_what_follows_from_arrays() -> None:
    """Bits of levels, the error that a reconstruction stands for, distances by moments."""
    v, error, d = 0.04, 0.05, 784
    cost = 0.5 * d * (error / v + math.log(2 * math.pi * v))
    moments = {f"{of}_mean": np.zeros(2) for of in ("real", "fake", "decoded")}
    moments |= {f"{of}_covariance": np.eye(2) for of in ("real", "fake", "decoded")}
    observed = {
        **{name: np.full(6, cost) for name in ("reconstruction", "kl")},
        "elbo": np.full(6, -2 * cost),
        **moments,
        "decoded_mean": np.array([3.0, 0.0]),
        "log_evidence": np.array([100.0, 300.0]),
        "nll_k": np.array(8),
        "dimensions": np.array(d),
        "noise_variance": np.array(v),
        "fd-fake[net,n=7]": np.array(7),
        "fid-decoded[inception-2015,n=6]": np.array(6),
    }
    found = MNISTReal.score(observed)
    assert found["nll[k=8,n=2]"] == -200.0 and found["bits_per_dim[k=8,n=2]"] == pytest.approx(8 - 200 / d / math.log(2))
    assert found["noise_ratio[n=6]"] == pytest.approx(v / error)
    assert metric_key("noise_ratio", [found]) == "noise_ratio[n=6]", "claims ask for it by its name"
    assert found["fd[net,n=7]"] == pytest.approx(0.0, abs=1e-9) and found["fid[inception-2015,n=6]/reconstructions"] == pytest.approx(9.0)
    assert not any(name.startswith(("mse", "active")) for name in found), "no codes"
