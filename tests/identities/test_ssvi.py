"""Identities of classifiers that train sparse: scores against SciPy, masks under changes, and what inactive weights may not do."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import foldnorm
from torch.distributions import Normal, kl_divergence

from elboard.bench.config import resolve
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.run import execute, load_trained
from elboard.methods.bayesian.rigl import RigL
from elboard.methods.bayesian.ssvi import LEAST_SD, SSVI, mean_size, signal_to_noise_of_size

IDENTITIES = {
    "ssvi": (
        "test_the_score_is_scipys_folded_normal",
        "test_inactive_weights_have_neither_value_nor_variance",
        "test_the_divergence_is_torchs_over_active_weights",
        "test_the_least_scores_leave_and_the_largest_gradients_come",
    ),
    "rigl": ("test_the_least_scores_leave_and_the_largest_gradients_come", "test_all_weights_active_is_maximum_likelihood"),
}
SPEC = ClassSpec((1, 4, 4), 60, n_classes=3)
METHODS = (SSVI, RigL)


def build(of: Any = SSVI, **options: Any) -> Any:
    """One with spreads of its own for all weights, in double precision, and an optimiser that has moved."""
    torch.manual_seed(0)
    made = of(of.Config(**({"density": 0.2} | options)), SPEC).double()
    if of is SSVI:
        with torch.no_grad():
            for rho in made.rho:
                rho.copy_(-3 + 0.5 * torch.randn_like(rho))
    optimizer = made.make_optimizer(made.parameter_groups())
    made.optimizers = lambda use_pl_optimizer=True: optimizer
    for _ in range(2):
        optimizer.zero_grad()
        made.loss(batch())["loss"].backward()
        optimizer.step()
    return made


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"x": torch.rand(12, 1, 4, 4, generator=generator, dtype=torch.float64), "y": torch.arange(12) % 3}


@pytest.mark.parametrize("sd", [1e-4, 0.1, 1.0, 30.0])
def test_the_score_is_scipys_folded_normal(sd: float) -> None:
    mean = torch.linspace(-2, 2, 9, dtype=torch.float64)
    law = foldnorm(np.abs(mean.numpy()) / sd, scale=sd)
    np.testing.assert_allclose(mean_size(mean, torch.tensor(sd, dtype=torch.float64)), law.mean(), rtol=1e-12)
    np.testing.assert_allclose(signal_to_noise_of_size(mean, torch.tensor(sd, dtype=torch.float64)), law.mean() / law.std(), rtol=2e-6)


def test_scores_stay_finite_without_spread() -> None:
    made = build()
    with torch.no_grad():
        made.rho[0].fill_(-80)
    assert F.softplus(made.rho[0]).max() < LEAST_SD and torch.isfinite(made.score(0)).all() and made.score(0).max() > 1e3
    assert made.sd(0)[made.masks[0]].min() == LEAST_SD


@pytest.mark.parametrize("criterion", ["snr-size", "size", "mean", "snr"])
def test_criteria_order_weights_of_one_spread_alike(criterion: str) -> None:
    made = build(criterion=criterion)
    with torch.no_grad():
        made.rho[0].fill_(-2)
    assert torch.equal(made.score(0).flatten().argsort(), made.weights[0].abs().flatten().argsort())


def test_spreads_begin_apart_so_that_criteria_differ() -> None:
    """Of equal spreads all criteria would order weights by |mu|, and what is claimed of them would compare a run with itself."""
    torch.manual_seed(0)
    made = SSVI(SSVI.Config(density=1.0), ClassSpec((1, 28, 28), 60, n_classes=3))
    sd, law = made.sd(0).detach().double(), foldnorm(0.0006 / 0.0005, scale=0.0005)
    assert sd.mean().item() == pytest.approx(law.mean(), rel=0.01) and sd.std().item() == pytest.approx(law.std(), rel=0.01)
    least = [set(score.flatten().topk(1000, largest=False).indices.tolist()) for score in (made.score(0), made.weights[0].abs())]
    assert len(least[0] & least[1]) < 900


def test_wide_weights_leave_before_narrow_ones_of_the_same_mean() -> None:
    mean, sd = torch.full((5,), 0.3), torch.linspace(0.01, 1, 5)
    assert (signal_to_noise_of_size(mean, sd).diff() < 0).all() and (mean_size(mean, sd).diff() >= 0).all()


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_inactive_weights_have_neither_value_nor_variance(backbone: str) -> None:
    """Whatever the optimiser's tensors hold there: logits, divergence and gradients are those of the active ones."""
    made = build(backbone=backbone)

    def found() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        made.zero_grad()
        out = made.loss(batch())
        out["loss"].backward()
        return out["error"].detach(), out["kl"].detach()

    before = found()
    for mask, w, rho in zip(made.masks, made.weights, made.rho, strict=True):
        assert not w.grad[~mask].any() and not rho.grad[~mask].any() and w.grad[mask].any() and rho.grad[mask].any()
        with torch.no_grad():
            w.add_(5.0 * ~mask)
            rho.add_(5.0 * ~mask)
    for one, other in zip(before, found(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.manual_seed(4)
    x, i = batch()["x"], 0
    if backbone == "mlp":  # moments of the first layer's output, by draws of active weights alone
        w, sd = made.weights[i] * made.masks[i], F.softplus(made.rho[i]) * made.masks[i]
        draws = w + sd * torch.randn(4000, *w.shape, dtype=torch.float64)
        spread = (draws @ x[0].flatten()).var(0)
        torch.testing.assert_close(spread, F.linear(x[0].flatten().square(), made.sd(i).square()), rtol=0.15, atol=1e-12)


def test_a_first_convolution_is_dense_and_other_layers_have_the_density() -> None:
    made = build(backbone="cnn")
    shares = [mask.double().mean().item() for mask in made.masks]
    assert shares[0] == 1 and shares[1:] == pytest.approx([0.2] * 3, abs=0.002)
    assert [mask.sum().item() for mask in made.masks] == made.counts


def test_the_divergence_is_torchs_over_active_weights() -> None:
    made = build(prior_sd=0.3)
    expected = sum(
        kl_divergence(Normal(w[mask], F.softplus(rho)[mask]), Normal(0.0, 0.3)).sum()
        for w, rho, mask in zip(made.weights, made.rho, made.masks, strict=True)
    )
    torch.testing.assert_close(made.kl(), expected)
    made.progress = 0.25  # half of the warm-up
    out = made.loss(batch())
    torch.testing.assert_close(out["loss"] - out["error"], 0.01 * 0.5 / 60 * out["kl"])


@pytest.mark.parametrize("of", METHODS)
def test_all_weights_active_is_maximum_likelihood(of: Any) -> None:
    """Without noise and divergence the loss is the cross-entropy of the plain network."""
    made = build(of, density=1.0)
    if of is SSVI:
        with torch.no_grad():
            for rho in made.rho:
                rho.fill_(-80)
        made.progress = 0.0
    expected = F.cross_entropy(made(batch()["x"]), batch()["y"])
    torch.testing.assert_close(made.loss(batch())["loss"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", METHODS)
def test_the_least_scores_leave_and_the_largest_gradients_come(of: Any) -> None:
    made = build(of)
    masks, scores = [mask.clone() for mask in made.masks], [made.score(i).detach().clone() for i in range(3)]
    rhos = [rho.detach().clone() for rho in made.rho] if of is SSVI else []
    torch.manual_seed(5)
    gradients = made.dense_gradients(batch())
    torch.manual_seed(5)
    made.rewire(batch(), 0.3)
    for i, (old, new) in enumerate(zip(masks, made.masks, strict=True)):
        n, left, came = int(0.3 * made.counts[i]), old & ~new, new & ~old
        assert left.sum() == came.sum() == n > 0 and new.sum() == made.counts[i]
        assert scores[i][left].max() <= scores[i][old & new].min()
        assert gradients[i][came].abs().min() >= gradients[i][~old & ~new].abs().max() > 0
        w, changed = made.weights[i], left | came
        momentum = made.optimizers().state[w]["momentum_buffer"]
        assert not w[changed].any() and not momentum[changed].any() and momentum[old & new].any()
        if rhos:
            momentum = made.optimizers().state[made.rho[i]]["momentum_buffer"]
            assert not momentum[changed].any() and momentum[old & new].any()
            torch.testing.assert_close(made.rho[i][came], rhos[i][old & new].mean().expand(n))


def test_the_dense_gradient_is_that_of_finite_differences() -> None:
    made = build(mean_gradient=True)
    gradient, i = made.dense_gradients(batch())[1], 1
    at = np.unravel_index(int(gradient.abs().masked_fill(made.masks[i], 0).argmax()), gradient.shape)

    def error(value: float) -> float:
        weights = {name: w.detach().clone() for name, w in made.active().items()}
        weights[made.names[i]][at] = value
        return F.cross_entropy(made.logits(weights, batch()["x"], noise=False), batch()["y"]).item()

    assert gradient[at].item() == pytest.approx((error(1e-5) - error(-1e-5)) / 2e-5, rel=1e-4)
    assert gradient[at].item() != 0


def test_pruning_keeps_the_best_of_each_layer() -> None:
    made = build(mask="pruned", density=0.1)
    assert all(mask.all() for mask in made.masks)
    scores = [made.score(i).detach().clone() for i in range(3)]
    made.prune()
    for mask, score, count in zip(made.masks, scores, made.counts, strict=True):
        assert mask.sum() == count == max(1, round(0.1 * mask.numel())) and score[mask].min() >= score[~mask].max()


@pytest.mark.parametrize(("until", "changes"), [(0.75, [1, 2, 3, 4, 5, 6]), (0.0, []), (1.0, [1, 2, 3, 4, 5, 6, 7, 8])])
def test_changes_shrink_by_the_cosine_and_end(until: float, changes: list[int]) -> None:
    made, seen = build(until=until, every=0.125), {}
    for epoch in range(2):
        made.__dict__["_trainer"] = SimpleNamespace(num_training_batches=40, max_epochs=2, current_epoch=epoch)
        for index in range(40):
            made.rewire = lambda batch, share, step=40 * epoch + index + 1: seen.__setitem__(step, share)
            made.after_step(batch(), index)
    assert list(seen) == [10 * k for k in changes]
    assert list(seen.values()) == pytest.approx([0.15 * (1 + math.cos(math.pi * 10 * k / (80 * until))) for k in changes])


@pytest.mark.parametrize("options", [{}, {"mask": "static"}, {"mask": "pruned", "until": 1.0}])
def test_a_run_ends_sparse(tmp_path: Any, options: dict) -> None:
    spec = resolve("calibration/fashion-mnist", "ssvi", budget="smoke", overrides={**options, "density": 0.05})
    execute(spec, tmp_path)
    made = load_trained(spec, tmp_path)
    assert [mask.sum().item() for mask in made.masks] == made.counts
    assert all((w != 0).sum() <= count for w, count in zip(made.active().values(), made.counts, strict=True))
    p = made.predict(torch.rand(5, 1, 28, 28), 3)
    torch.testing.assert_close(p.sum(2), torch.ones(3, 5))
    assert not torch.equal(p[0], p[1])
