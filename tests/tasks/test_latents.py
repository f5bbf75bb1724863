"""Generators in latents: metrics by other ways, what evidence gives, and planes in more dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.latents import LatentGenerator
from elboard.bench.metrics.generation import frechet_distance
from elboard.tasks.latents.fashion14 import BUDGETS, CARD, LatentsFashion14, kept_moments, psnr
from elboard.tasks.parts import features
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.samples.toy_2d import ToySamples, plane
from elboard.tasks.selfsup.fashion14 import ViewsFashion14


class Pixels(LatentGenerator):
    """Latents that are the image; samples in few steps are darker."""

    def latents(self, x: Tensor) -> Tensor:
        return x

    def reconstructed(self, x: Tensor) -> Tensor:
        return 0.9 * x

    def drawn(self, y: Tensor, steps: int) -> Tensor:
        return (y[:, None, None, None] / 10 * steps / 25).expand(-1, 1, 14, 14).contiguous()


def make(**options: int) -> LatentsFashion14:
    return LatentsFashion14(LatentsFashion14.Config(**{**BUDGETS["smoke"]["task"], **options}), "smoke", 0)


def test_metrics_are_those_of_features_and_of_torchmetrics() -> None:
    task = make()
    data = task.load_train()
    test = task.load_test(data)
    seen = task.observe(Pixels(), data, test, [])
    found, x = task.score(seen.arrays), test["x"]
    wanted = [peak_signal_noise_ratio(0.9 * one, one, data_range=1.0).item() for one in x]
    assert found["psnr"] == pytest.approx(np.mean(wanted), rel=1e-5)
    of = features.load("fashion-cnn", "cpu")[2]
    real, again, few = (moments_of(of(part).double().numpy()) for part in (x, 0.9 * x, Pixels().drawn(torch.arange(60) % 10, 5)))
    network = features.load("fashion-cnn", "cpu")[1]
    assert found[f"rfd[{network},n=100]"] == pytest.approx(frechet_distance(*real, *again), rel=1e-3)
    assert found[f"fd[{network},n=60]/s5"] == pytest.approx(frechet_distance(*real, *few), rel=1e-3)
    ratio = found[f"fd[{network},n=60]/s5"] / found[f"fd[{network},n=60]/s25"]
    assert found[f"fd_ratio[{network},n=60]/s5"] == pytest.approx(ratio)
    assert found[f"fd_log[{network},n=60]/s25"] == pytest.approx(np.log(found[f"fd[{network},n=60]/s25"]))
    assert task.score(task.compact(seen.arrays)) == found and sum(of.nbytes for of in task.compact(seen.arrays).values()) < 16 * 1024
    assert task.validate(Pixels(), data).keys() >= {CARD.selection, "psnr", "probe_accuracy"}


def test_the_axes_of_moments_change_no_distance() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((12, 12))
    real, other = rng.standard_normal((300, 12)) @ mixed, 0.5 + rng.standard_normal((200, 12))
    kept = kept_moments(real, {"again": other})
    found = LatentsFashion14.measure(
        {
            **kept,
            **{f"s5_{of}": kept[f"again_{of}"] for of in ("mean", "deviation", "correlation")},
            **{name: np.array(of) for name, of in (("n", 2), ("samples", 2), ("quality", [4.0, 6.0]), ("hits", [1.0, 0.0]))},
            **{"steps": np.array([5]), "fd[x": np.array(1)},
        },
        None,
    )
    assert found["rfd[x,n=2]"] == found["fd[x,n=2]/s5"] == pytest.approx(frechet_distance(*moments_of(real), *moments_of(other)), rel=1e-3)
    assert found["psnr"] == 5 and found["probe_accuracy"] == 0.5 and not any(name.startswith("fd_ratio") for name in found)


def test_a_perfect_image_has_a_hundred_decibels() -> None:
    x = torch.rand(3, 1, 4, 4)
    assert psnr(x, x).tolist() == [100] * 3 and psnr(x + 5, torch.ones_like(x)).tolist() == [100] * 3  # limited to the range


def test_the_encoder_learns_from_images_of_its_own() -> None:
    from elboard.tasks.selfsup.fashion14 import BUDGETS as views

    ours = make().load_train()
    theirs = ViewsFashion14(ViewsFashion14.Config(**views["smoke"]["task"]), "smoke", 0).load_train()
    sets = [{row.numpy().tobytes() for row in part["x"]} for of in (ours, theirs) for part in (of.train, of.valid)]
    assert not (sets[0] | sets[1]) & (sets[2] | sets[3]) and not sets[0] & sets[1]


class Embedded(Generator):
    def __init__(self, x: Tensor):
        self.x = x

    def sample(self, n: int) -> Tensor:
        return self.x[:n]


def test_a_plane_in_more_dimensions_is_seen_as_the_plane() -> None:
    flat, deep = (ToySamples(ToySamples.Config(n_train=500, dimensions=of), "smoke", 0) for of in (2, 8))
    datas = [task.load_train() for task in (flat, deep)]
    assert datas[1].spec.shape == (8,) and datas[1].train["x"].shape == (500, 8)
    basis = plane(8)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2))
    torch.testing.assert_close(datas[1].train["x"] @ basis, datas[0].train["x"], atol=1e-5, rtol=0)
    off = torch.randn(8) * 3  # what lies across the plane is not seen
    off -= basis @ (basis.T @ off)
    real = datas[0].train["x"].repeat(4, 1)[:2000]
    fakes = real, real @ basis.T + off
    found = [
        task.measure({"real": np.rint(real.numpy() * 4096), "fake": np.rint(task._projected(fake) * 4096), "patterns": np.arange(7)}, None)
        for task, fake in zip((flat, deep), fakes, strict=True)
    ]
    assert found[0]["tail_distance"] == 0 and found[1]["tail_distance"] < 1e-3
    assert found[1]["mmd2"] == pytest.approx(found[0]["mmd2"], abs=1e-4)
