"""Tasks of known diffusions: their metrics against closed forms, and what they hand methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from elboard.bench.config import resolve
from elboard.bench.kinds.diffusion import ExactBound, FlowSolver, Score
from elboard.bench.registry import find
from elboard.bench.run import built
from elboard.tasks.diffusion import base as known
from elboard.tasks.diffusion.base import KnownDiffusion
from elboard.tasks.diffusion.bound import Bound
from elboard.tasks.diffusion.solvers import Solvers, reference


class Scaling(FlowSolver):
    """dx/dt = x from 1 to 0, whose end is x / e, by Euler's method."""

    ends, calls = (1.0, 0.0), 1

    def start(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + noise

    def slope(self, score: Score, x: Tensor, t: float) -> Tensor:
        return x

    def solve(self, score: Score, x: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            x = x - x / steps
        return x


def task(cls: type, name: str, seed: int = 0, **options: object) -> KnownDiffusion:
    made = cls(cls.Config(**options), "smoke", seed)
    made.card = find("task", name).card
    return made


def test_the_reference_is_the_exact_end() -> None:
    x = known.draw(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(reference(Scaling(), x), x / np.e, rtol=1e-9, atol=1e-10)


def test_errors_are_those_of_the_ends() -> None:
    of = task(Solvers, "diffusion/solvers", n_test=30, steps=64)
    data = of.load_train()
    test = of.load_test(data)
    seen = of.observe(Scaling(), data, test, [])
    found = Solvers.score(seen.arrays)
    first = test["x"] + test["noise"]
    for n in (8, 16, 32, 64):
        expected = first.square().sum(1).mean().sqrt().item() * abs((1 - 1 / n) ** n - np.exp(-1))
        assert found[f"terminal_error/n{n}"] == pytest.approx(expected, rel=1e-6)
    assert found["terminal_error/e16"] == found["terminal_error/n16"]
    assert found["error_ratio"] == found["error_ratio/n64"] == pytest.approx(found["terminal_error/n32"] / found["terminal_error/n64"])
    assert found["error_ratio"] == pytest.approx(2, abs=0.05)


def test_an_evaluation_is_what_is_paid() -> None:
    arrays = {"squared": np.array([[16.0, 4.0, 1.0]]), "steps": np.array([8, 16, 32]), "calls": np.array(2)}
    found = Solvers.score(arrays)
    assert found["terminal_error/e16"] == 4 and found["terminal_error/e64"] == 1 and "terminal_error/e256" not in found
    assert found["error_ratio/n16"] == found["error_ratio"] == 2


def test_seeds_draw_other_points_and_noise() -> None:
    tests = [task(Solvers, "diffusion/solvers", seed=seed, n_test=50).load_test(None) for seed in (0, 0, 1)]
    assert torch.equal(tests[0]["x"], tests[1]["x"]) and not torch.equal(tests[0]["x"], tests[2]["x"])
    assert not torch.equal(tests[0]["noise"], tests[2]["noise"]) and not torch.equal(tests[0]["x"], tests[0]["noise"])


def test_the_known_density_stays_on_the_device_of_its_points() -> None:
    x = torch.zeros(5, 2, dtype=torch.float64, device="meta")
    assert known.log_density(x).device == x.device
    assert known.score(x, x.new_ones(()), x.new_ones((5, 1))).device == x.device


class Shifted(ExactBound):
    """The density itself less 1 / T, and terms that differ by a hundredth."""

    def bound(self, score: Score, x: Tensor, steps: int) -> Tensor:
        return known.log_density(x) - 1 / steps

    def forms(self, score: Score, x: Tensor, steps: int) -> Tensor:
        return torch.tensor([1.0, 0.99])[:, None].expand(len(x), 2, steps - 1)

    def single(self, score: Score, x: Tensor, steps: int) -> dict[str, Tensor]:
        return {"matching": torch.randn(len(x)), "consistency": 3 * torch.randn(len(x))}


def test_gaps_and_deviations_of_a_bound() -> None:
    torch.manual_seed(0)
    of = task(Bound, "diffusion/bound", n_test=150, steps=[10, 20, 50], repeats=400)
    data = of.load_train()
    found = Bound.score(of.observe(Shifted(), data, of.load_test(data), []).arrays)
    assert [found[f"bound_gap/t{t}"] for t in (10, 20, 50)] == pytest.approx([0.1, 0.05, 0.02])
    assert found["bound_trend"] == -1 and found["form_error"] == pytest.approx(0.01)
    assert found["bound_sd/matching"] == pytest.approx(1, abs=0.03) and found["bound_sd_ratio"] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("name", "method"), [("diffusion/solvers", "heun-solver"), ("diffusion/bound", "exact-diffusion-bound")])
def test_methods_see_the_score_and_no_point(name: str, method: str, tmp_path: Path) -> None:
    of, data, _ = built(resolve(name, method, budget="smoke"), tmp_path, {})
    assert not data.train and not data.valid and data.oracle is known.score
    assert of.load_test(data)["x"].dtype == torch.float64
