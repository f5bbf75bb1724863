"""Learning curves: what the data are, what each fit sees of them, and that known errors give known rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.evidence import scored
from elboard.tasks.rates.contamination import Contamination, centres
from elboard.tasks.rates.wasserstein import LAWS, PAIRS, Wasserstein, embedding


def wasserstein(seed: int = 0, **options: Any) -> Wasserstein:
    return Wasserstein(Wasserstein.Config(**({"n_train": 40, "n_valid": 10, "n_test": 3000, "n": [20, 40]} | options)), "lite", seed)


def contamination(**options: Any) -> Contamination:
    small = {"n_train": 401, "n_valid": 10, "n_test": 3000, "n": [20, 400], "contaminated": 401, "shares": [0.1, 0.25], "starts": 2}
    return Contamination(Contamination.Config(**(small | options)), "lite", 0)


def apart(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def test_sheets_have_one_mean_square_and_embeddings_keep_distances() -> None:
    x = loaded(wasserstein())[1]["x"]
    assert x.shape == (3000, 4, 16)
    assert x.square().sum(2).mean(0).tolist() == pytest.approx([16.0] * 4, rel=0.1)
    assert x.mean(0).abs().max() < 0.2
    for ambient in (16, 64, 256):
        torch.testing.assert_close(embedding(ambient).T @ embedding(ambient), torch.eye(16), atol=1e-5, rtol=0)


def test_a_sheet_has_its_dimension() -> None:
    """Of many points those near the first one lie near a flat of that dimension."""
    task = wasserstein()
    for law, d in zip(LAWS[:3], (1, 2, 4), strict=True):
        x = task.points(law, 400_000, torch.Generator().manual_seed(0))
        near = x[(x - x[0]).square().sum(1).argsort()[:40]]
        share = torch.linalg.svdvals(near - near.mean(0)).square().cumsum(0)
        assert share[d - 1] > 0.8 * share[-1], law


def test_each_fit_draws_from_its_own_examples() -> None:
    task = wasserstein()
    data, _ = loaded(task)
    batch = task.batches(data, {"batch_size": 64}, 0).make(0, 0, torch.Generator().manual_seed(0))
    assert {key: x.shape for key, x in batch.items()} == {"x16": (9, 64, 16), "x64": (36, 64, 64), "x256": (9, 64, 256)}
    for key, fits in data.spec.groups().items():
        for fit, x in zip(fits, batch[key], strict=True):
            own = task.embedded(fit, data.train["x"][:, LAWS.index(fit.world)])
            row, column = (apart(x, own) < 1e-4).nonzero(as_tuple=True)
            assert len(row) == (64 if fit.n else 0) and (not fit.n or 0.6 * fit.n < len(set(column.tolist())) and column.max() < fit.n)


def test_fits_of_one_start_draw_by_the_same_numbers() -> None:
    """New points of one law are the same ones in all ambient dimensions; of few examples those of a smaller n are often the same."""
    task = wasserstein()
    data, _ = loaded(task)
    batches = task.batches(data, {"batch_size": 64}, 0)
    batch, again, later = (batches.make(0, 0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    drawn = {}
    for key, fits in data.spec.groups().items():
        assert torch.equal(batch[key], again[key])
        drawn |= {(fit.world, fit.ambient, fit.start, fit.n): x @ embedding(fit.ambient) for fit, x in zip(fits, batch[key], strict=True)}
        assert not any(torch.equal(x, other) for x, other in zip(batch[key], later[key], strict=True))
    for start in range(3):
        for ambient in (64, 256):
            torch.testing.assert_close(drawn["d2", ambient, start, 0], drawn["d2", 16, start, 0], atol=1e-4, rtol=0)
        few, more = drawn["d4", 64, start, 20], drawn["d4", 64, start, 40]
        assert (few - more).abs().amax(1).lt(1e-4).float().mean() == pytest.approx(0.5, abs=0.2)
    assert apart(drawn["d2", 64, 0, 0], drawn["d2", 64, 1, 0]).min() > 1e-4, "starts have their own"


def test_outliers_stand_in_the_place_of_their_share() -> None:
    task = contamination()
    data, test = loaded(task)
    batch = task.batches(data, {"batch_size": 20_000}, 0).make(0, 0, torch.Generator().manual_seed(0))["x3"]
    for fit, x in zip(data.spec.fits, batch, strict=True):
        if not fit.n:
            continue
        clean = data.train["x"][: fit.n, task.laws.index(fit.world)]
        foreign = (apart(x.unique(dim=0), clean).min(1).values > 1e-3).sum().item()
        assert foreign == round(fit.outliers * fit.n)
        assert (apart(x[:2000], clean).min(1).values > 1e-3).float().mean() == pytest.approx(fit.outliers, abs=0.05)
    assert data.train["outliers"].abs().max() <= 100 and test["x"].abs().max() < 5
    quartile = data.train["outliers"].abs().median()
    assert quartile == pytest.approx(5, rel=0.2), "half of a Cauchy law lies within its scale"
    same = task.outliers(task.laws[0], len(data.train["x"]), task._generator("train"))
    assert not torch.equal(data.train["outliers"][:, 0], same), "drawn by the numbers of the clean points"


def test_balls_and_roll() -> None:
    x = loaded(contamination())[1]["x"]
    nearest = torch.cdist(x[:, 0], centres()).min(1)
    assert nearest.values.square().mean() == pytest.approx(3 * 0.15**2, rel=0.1) and len(nearest.indices.unique()) == 5
    roll = x[:, 1]
    assert roll.square().sum(1).mean() == pytest.approx(1, rel=0.1)
    angle = torch.hypot(roll[:, 0], roll[:, 2]) * math.sqrt(21**2 / 12 + (1.5 * math.pi) ** 2 * 13 / 3)
    torch.testing.assert_close(torch.atan2(roll[:, 2], roll[:, 0]).cos(), angle.cos(), atol=1e-3, rtol=0)


class Known:
    """Knows the test examples, and reconstructs and samples with an error of which the square falls as a power of n."""

    def __init__(self, task: Any, spec: Any, x: torch.Tensor):
        self.task, self.spec, self.x = task, spec, x

    def error(self, fit: Any) -> float:
        d = int(fit.world[1:])
        return 0.1 + (fit.n and 5 * fit.n ** -(1 / (2 + d) + 0.05) + 0.01 * (fit.start - 1))

    def encode(self, key: str, x: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(x), x.shape[1], max(fit.latent for fit in self.spec.groups()[key]))

    def decode(self, key: str, z: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [x + (self.error(fit) / fit.ambient) ** 0.5 for fit, x in zip(self.spec.groups()[key], self.real(key), strict=True)]
        )

    def draw(self, key: str, n: int) -> torch.Tensor:
        return self.real(key)

    def real(self, key: str) -> torch.Tensor:
        return self.task._examples(self.spec.groups()[key], self.x)


def test_known_errors_give_known_rates() -> None:
    task = wasserstein(n_test=200, n=[10, 20, 40])
    data, test = loaded(task)
    seen = scored(Wasserstein, task.observe(Known(task, data.spec, test["x"]), data, test, []))
    found = seen.metrics
    for d, ambient in PAIRS:
        assert found[f"risk_rate/d{d}-D{ambient}"] == pytest.approx(1 / (2 + d) + 0.05, abs=1e-3)
        assert found[f"excess_risk/d{d}-D{ambient}-n20"] == pytest.approx(5 * 20 ** -(1 / (2 + d) + 0.05), rel=1e-3)
    noise = 0.01 / math.sqrt(3)  # of 0.01 below, at and above the curve
    assert [found[f"excess_noise/d{d}-D{ambient}"] for d, ambient in PAIRS] == pytest.approx([noise] * 6, rel=0.02)
    assert found["excess_signal"] == pytest.approx(5 * 40 ** -(1 / 3 + 0.05) / noise, rel=0.02) and found["excess_falls"] == 1
    assert found["risk_rate_margin"] == pytest.approx(0.05, abs=1e-3) and found["risk_rate_trend"] == -1
    assert found["risk_rate_fall"] == pytest.approx(1 / 3 - 1 / 10, abs=1e-3) and found["risk_rate_shift"] == pytest.approx(0, abs=1e-3)
    assert found["sw1/mean"] == pytest.approx(0, abs=1e-4)
    assert Wasserstein.score(seen.evidence) == found, "all of it is kept"


def test_contaminated_curves_from_known_errors() -> None:
    """Errors of networks, 0.3 in squares and 1 in distances, beside those of few data, which vary with the start."""
    n, share = np.array([100, 400, 1600, 0, 5000, 5000, 5000]), np.array([0, 0, 0, 0, 0, 0.1, 0.2])
    rows, codes, samples, sliced = [], [], [], []
    for law in (0, 1):
        for start in (-1, 0, 1):
            rows += [(law, 3, 2, *of) for of in zip(n, share, strict=True)]
            few = np.where(n > 0, 1 / np.maximum(n, 1), 0.0)
            codes += [*(0.3 + 4 * few + (few > 0) * 1e-4 * start)]
            samples += [*(0.3 + few**0.6)]
            sliced += [*(1 + 2 * few**0.5 + 3 * share + 0.1 * start)]
    arrays = {
        "fits": np.array(rows),
        "n_test": np.array(10**9),
        "risk": np.ones(42),
        "sw1": np.array(sliced),
        "code_mmd2": np.array(codes),
        "sample_mmd2": np.array(samples),
    }
    found = Contamination.score(arrays)
    assert found["sw1_excess_rate/balls"] == pytest.approx(0.5) == found["code_excess_rate/roll"] == found["code_excess_rate/mean"]
    assert found["sample_excess_rate/mean"] == pytest.approx(0.3)
    assert found["code_excess/roll-n400"] == pytest.approx(0.1) and found["sw1_excess/balls-n1600"] == pytest.approx(0.05)
    assert found["code_excess_signal"] == pytest.approx(4 / 1600 / (1e-4 / 3**0.5)), "of three starts"
    assert found["sample_mmd/roll"] == pytest.approx(np.mean((0.3 + n[:3] ** -0.6) ** 0.5)), "neither unlimited nor contaminated fits"
    assert found["outlier_slope/mean"] == pytest.approx(3) and found["outlier_linear/roll"] == pytest.approx(1)
    assert found["outlier_trend/balls"] == 1 and found["outlier_sw1/roll-0.2"] == pytest.approx(1.6 + 2 * 5000**-0.5)
    noise = Contamination.score(arrays | {"n_test": np.array(100), "code_mmd2": np.full(42, 0.2)})
    assert noise["code_excess/roll-n400"] == pytest.approx(0.1) and noise["code_excess_rate/mean"] == pytest.approx(0)
    assert noise["code_excess_signal"] == 0


class Exact:
    """Of codes the prior's law and of samples the data's; reconstructs with an error that depends on the fit."""

    def __init__(self, task: Any, spec: Any, errors: list[float]):
        self.task, self.spec, self.errors = task, spec, torch.tensor(errors)[:, None, None]

    def encode(self, key: str, x: torch.Tensor) -> torch.Tensor:
        self.x = x
        return torch.randn(*x.shape[:2], 2)

    def decode(self, key: str, z: torch.Tensor) -> torch.Tensor:
        return self.x + self.errors

    def draw(self, key: str, n: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(9)
        return torch.stack([self.task.points(fit.world, n, generator) for fit in self.spec.groups()[key]])


def test_exact_codes_and_samples_have_discrepancies_below_the_floor() -> None:
    task = contamination(n_test=1500)
    data, test = loaded(task)
    seen = task.observe(Exact(task, data.spec, [0.0] * 24), data, test, [])
    found = scored(Contamination, seen).metrics
    assert found["code_mmd/mean"] == pytest.approx(1500**-0.5, rel=0.05) and found["sample_mmd/mean"] == pytest.approx(1500**-0.5, rel=0.05)
    assert found["sw1/mean"] < 0.1 and seen.arrays["sample_mmd2"].shape == (24,)


def test_contaminated_fits_choose_no_epoch() -> None:
    task = contamination()
    data, _ = loaded(task)
    errors = [9.0 if fit.outliers else 1.0 for fit in data.spec.fits]
    assert task.validate(Exact(task, data.spec, errors), data)["risk/mean"] == pytest.approx(3.0)


def test_sizes_and_starts() -> None:
    """Few examples, three times each."""
    sizes: dict[tuple[str, int], list[int]] = {}
    for fit in Wasserstein(Wasserstein.Config(), "lite", 0).fits():
        sizes.setdefault((fit.world, fit.ambient), []).append(fit.n)
        assert fit.latent == int(fit.world[1:]) + 1
    contaminated = Contamination(Contamination.Config(), "lite", 0).fits()
    assert [fit.n for fit in contaminated[:11]] == [10, 20, 40, 80, 160, 0, 4000, 4000, 4000, 4000, 10] and len(contaminated) == 60
    assert {of.count(0) for of in sizes.values()} == {3} and {(*of[:6],) for of in sizes.values()} == {(10, 20, 40, 80, 160, 0)}
    with pytest.raises(UserError, match="starts=1 is not at least 2"):
        resolve("rates/wasserstein", "wae-grid", overrides={"task.starts": 1})
    with pytest.raises(UserError, match="task.n_train=100: a fit has 401 examples; at least task.n_train=401"):
        contamination(n_train=100).load_train()
