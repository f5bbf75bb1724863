"""Functions of two smoothnesses: what they are, what each network sees of them, and that known risks give known rates and selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from elboard.bench.errors import UserError
from elboard.bench.metrics.rates import minimax_rate
from elboard.tasks.rates.sparse_networks import LAWS, SCALES, SparseNetworks, function, width_by_rule


def task(seed: int = 0, **options: Any) -> SparseNetworks:
    return SparseNetworks(SparseNetworks.Config(**({"n": [40, 80], "widths": [2, 4]} | options)), "lite", seed)


def test_functions_have_mean_square_one_and_their_smoothness() -> None:
    """With b = 1 the largest change over a distance h falls as h, up to a logarithm; with b = 3 the second derivative is that function."""
    x = torch.linspace(-1, 1, 4097).double()[:-1]
    for law in LAWS:
        assert function(law, x).square().mean().item() == pytest.approx(1, abs=1e-4)
    rough, smooth = (function(law, x) for law in LAWS)
    change = [(rough[k:] - rough[:-k]).abs().max().item() for k in (32, 128)]
    assert np.log(change[1] / change[0]) / np.log(4) == pytest.approx(0.85, abs=0.2)  # 1 up to a logarithm
    second = (smooth[2:] - 2 * smooth[1:-1] + smooth[:-2]) * 2048**2
    sizes = [sum(4.0 ** (-b * k) for k in range(SCALES)) ** 0.5 for b in LAWS.values()]
    torch.testing.assert_close(second, -(np.pi**2) * sizes[0] / sizes[1] * rough[1:-1], rtol=0, atol=0.03)


def test_predicted_exponents() -> None:
    assert [minimax_rate(b) for b in LAWS.values()] == pytest.approx([2 / 3, 6 / 7])
    assert minimax_rate(2, 4) == pytest.approx(0.5)


def test_widths_by_the_rule() -> None:
    widths = np.array([4.0, 8.0, 16.0, 32.0])
    assert [width_by_rule("rough", n, widths) for n in (100, 400, 1600, 10**6)] == [16, 16, 32, 32]
    assert [width_by_rule("smooth", n, widths) for n in (100, 1600)] == [4, 8]


def test_each_network_sees_its_own_examples_with_the_noise_that_is_said() -> None:
    of = task(n=[40, 4000])
    data = of.load_train()
    batch = of.batches(data, {"batch_size": 600}, 0).make(0, 0, torch.Generator().manual_seed(0))
    for fit, x, y in zip(data.spec.fits, batch["x"], batch["y"], strict=True):
        own = data.train["x"][: fit.n, list(LAWS).index(fit.law)]
        assert torch.isin(x, own).all() and len(x.unique()) > min(fit.n, 600) * 0.8
        if fit.n > 40:
            assert (y - function(fit.law, x)).std().item() == pytest.approx(0.3, rel=0.15)
    assert not torch.equal(task(1).load_train().train["x"][:40], data.train["x"][:40])
    assert not torch.isin(data.valid["y"], data.train["y"]).all() and not torch.equal(data.valid["x"], data.train["x"][:500])
    with pytest.raises(UserError, match="two numbers"):
        task(n=[40]).load_train()


class Known:
    """Draws are the function plus an error, and the divergence is known."""

    alpha = 0.5

    def __init__(self, error: torch.Tensor, kl: torch.Tensor):
        self.error, self.kl = error, kl

    def functions(self, x: torch.Tensor, draws: int) -> torch.Tensor:
        half = len(x) // 2
        truth = torch.cat([function("rough", x[:half]), function("smooth", x[half:])])
        sign = torch.tensor([1.0, -1.0]).repeat(draws // 2)[:, None, None]
        return truth + sign * self.error[:, None]

    def divergence(self) -> torch.Tensor:
        return self.kl


def test_known_posteriors_have_known_risks_and_bounds() -> None:
    of = task(draws=2)
    data = of.load_train()
    error, kl = torch.linspace(0.1, 0.8, 8), torch.arange(8.0)
    seen = of.observe(Known(error, kl), data, of.load_test(data), []).arrays
    np.testing.assert_allclose(seen["risk"], error.numpy() ** 2, rtol=1e-4)
    for i, fit in enumerate(data.spec.fits):
        x, y = (data.train[name][: fit.n, list(LAWS).index(fit.law)] for name in ("x", "y"))
        squared = (y - function(fit.law, x)).square().mean().item() + error[i].item() ** 2
        assert seen["train"][i] == pytest.approx(squared, rel=1e-4)
        assert seen["elbo"][i] == pytest.approx(-0.5 / (2 * 0.09) * fit.n * squared - i, rel=1e-4)


def test_known_risks_have_known_rates_and_selections() -> None:
    """Of three n and three widths: the ELBO is right but once, training error always takes the widest."""
    sizes, widths = [100.0, 200.0, 400.0], [4.0, 16.0, 32.0]
    fits = np.array([(law, n, width) for law in (0, 1) for n in sizes for width in widths])
    power = np.where(fits[:, 0] == 0, 0.5, 0.9)
    extra = {4.0: 1.5, 16.0: 1.0, 32.0: 2.0}
    risk = fits[:, 1] ** -power * np.array([extra[width] for width in fits[:, 2]])
    elbo = -risk.copy()
    elbo[2] = 1.0  # the widest, of rough at n = 100
    found = SparseNetworks.measure({"fits": fits, "risk": risk, "elbo": elbo, "train": -fits[:, 2]}, None)
    assert found["selection_ratio/train"] == pytest.approx(2) and found["selection_ratio/widest-few"] == pytest.approx(2)
    assert found["selection_ratio/elbo"] == pytest.approx(2 ** (1 / 6)) and found["selection_ratio/elbo-few"] == pytest.approx(2 ** (1 / 4))
    assert found["selection_gain"] == pytest.approx(2 ** (5 / 6)) and found["selection_gain/few"] == pytest.approx(2 ** (3 / 4))
    assert found["posterior_rate/rough"] == pytest.approx(0.5), "16 by the rule at all n"
    assert found["posterior_rate/smooth-elbo"] == pytest.approx(0.9)
    assert found["posterior_width/smooth"] == pytest.approx(16)
    assert found["posterior_risk/rough-n100"] == pytest.approx(0.1)
    assert found["posterior_rate_gain"] == pytest.approx(found["posterior_rate/smooth"] - 0.5)
