"""The torus of translations: what its images are, that the parts do not meet, and that a perfect code is seen as one."""

from __future__ import annotations

import numpy as np
import torch
from loading import loaded

from elboard.bench.evidence import scored
from elboard.tasks.topology.torus import Torus, picture, translations


def make() -> Torus:
    return Torus(Torus.Config(side=24, pixels=32), "lite", 0)


def test_translation_by_a_pixel_rolls_the_picture_and_by_a_period_changes_nothing() -> None:
    offsets = torch.tensor([[0.0, 0.0], [1 / 16, 3 / 16], [1.0, -2.0], [0.5, 0.0], [0.0, 0.5]])
    still, moved, again, *half = picture(offsets, 16, 0)[:, 0]
    torch.testing.assert_close(moved, still.roll((-1, -3), (0, 1)), atol=1e-5, rtol=0)
    torch.testing.assert_close(again, still, atol=1e-5, rtol=0)
    assert min((of - still).abs().mean() for of in half) > 0.1, "no shorter period: its translations are a whole torus"


def test_each_seed_has_a_picture_of_its_own_whose_translations_are_a_whole_torus() -> None:
    """None was chosen: of every one a half period changes it, so that none has a shorter one."""
    offsets = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 0.5]])
    pictures = torch.stack([picture(offsets, 16, seed)[:, 0] for seed in range(20)])
    assert (pictures[:, 1:] - pictures[:, :1]).abs().mean((2, 3)).min() > 0.05
    assert torch.pdist(pictures[:, 0].flatten(1)).min() > 1.0


def test_no_two_translations_are_alike_and_parts_do_not_meet() -> None:
    data, test = loaded(make())
    x = torch.cat([data.train["x"], data.valid["x"], test["x"]]).flatten(1)
    distance = torch.cdist(x, x) + torch.eye(len(x)) * 1e9
    assert len(x) == 576 + 144 + 576 and distance.min() > 0.1


class Perfect:
    """Knows the translation of each test image."""

    def __init__(self, test: torch.Tensor):
        self.test = test

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        at = torch.cdist(x.flatten(1), self.test.flatten(1)).argmin(1)
        angles = 2 * np.pi * translations(24, 0.5)[at]
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    def circles(self, z: torch.Tensor) -> torch.Tensor:
        return torch.atan2(z[:, 2:], z[:, :2])

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return picture(self.circles(z) / (2 * np.pi), 32, 0)

    def elbo(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"elbo": torch.full((len(x),), -3.0), "kl": torch.ones(len(x)), "reconstruction": torch.full((len(x),), 2.0)}


def test_a_perfect_code_is_faithful_and_its_evidence_gives_the_metrics_again() -> None:
    task = make()
    data, test = loaded(task)
    found = scored(Torus, task.observe(Perfect(test["x"]), data, test, []))
    wanted = {"neighbours": 1.0, "torn": 0.0, "folded": 0.0, "faithful": 1.0, "degree": 1.0, "winds": 1.0, "elbo": -3.0, "kl": 1.0}
    assert {name: found.metrics[name] for name in wanted} == wanted
    assert found.metrics["mse"] < 1e-5
    assert Torus.score(found.evidence) == found.metrics, "all of it is kept"
    assert set(found.pictures) == {"reconstructions", "angles"}
