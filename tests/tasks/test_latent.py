"""Tasks of few discrete latents: their laws and metrics against independent ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.special import logsumexp
from scipy.stats import entropy, multivariate_normal
from torch import Tensor

from elboard.tasks.latent.base import seen
from elboard.tasks.latent.hierarchical_mixture import NOISE, HierarchicalMixture, log_density, means, offsets


def test_the_law_is_the_mixture() -> None:
    """Its density is that of sixteen Gaussians by SciPy, its offsets have length 1, and clusters interleave."""
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [logsumexp([multivariate_normal(m, NOISE**2).logpdf(p) for m in means().numpy()]) - np.log(16) for p in x.numpy()]
    np.testing.assert_allclose(log_density(x).numpy(), expected, rtol=1e-10)
    torch.testing.assert_close(offsets().norm(dim=1), torch.ones(8, dtype=torch.float64))
    mass, _ = dblquad(lambda b, a: float(log_density(torch.tensor([[a, b]], dtype=torch.float64)).exp()), 0, 3.5, 0, 3.5, epsabs=1e-3)
    assert mass == pytest.approx(0.25, abs=0.02), "a quarter turn leaves it as it is"
    nearest = torch.cdist(means(), offsets()[:4]).argmin(1)
    assert (nearest != torch.arange(16) // 4).sum() >= 4, "sub-clusters nearer to another cluster's middle than to their own"


class Known:
    """Two latents of one bit; q is not the posterior."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.joints, self.q = torch.randn(3, 4, generator=generator), torch.rand(3, 4, generator=generator).softmax(1)

    def log_joints(self, x: Tensor) -> Tensor:
        return self.joints

    def posterior(self, x: Tensor) -> Tensor:
        return self.q


def test_metrics_are_those_of_the_tables() -> None:
    method = Known()
    found = seen(method, torch.zeros(3, 2))
    joints, q = method.joints.double().numpy(), method.q.double().numpy()
    p = np.exp(joints - logsumexp(joints, axis=1, keepdims=True))
    np.testing.assert_allclose(found["log_evidence"].numpy(), logsumexp(joints, axis=1))
    np.testing.assert_allclose(found["kl"].numpy(), entropy(q, p, axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["tv"].numpy(), np.abs(p - q).sum(1) / 2)
    arrays = {name: found[name].float().numpy() for name in ("log_evidence", "tv", "kl")} | {"latents": found["posterior"].mean(0).numpy()}
    measured = HierarchicalMixture.measure(arrays | {"excess": np.array([0.5, 1.5], dtype=np.float32)}, None)
    assert measured["nll_excess"] == 1 and measured["latent_perplexity"] == pytest.approx(np.exp(entropy(p.mean(0))))
    assert measured["nll[exact]"] == pytest.approx(-logsumexp(joints, axis=1).mean(), rel=1e-6)


def test_a_point_that_is_sure_has_no_infinite_divergence() -> None:
    """Of q at one latent alone the divergence is -log of its posterior."""
    method = Known()
    method.q = torch.eye(4)[:3]
    found = seen(method, torch.zeros(3, 2))
    torch.testing.assert_close(found["kl"], -method.joints.double().log_softmax(1).diagonal())


def test_single_precision_does_not_exceed_the_largest_variation() -> None:
    """Of laws that do not meet, of which one sums to a little more than 1."""
    method = Known()
    method.joints = torch.tensor([[0.0, -200.0, -200.0, -200.0]])
    method.q = torch.tensor([[0.0, 0.5, 0.5 + 1e-6, 0.0]])
    assert seen(method, torch.zeros(1, 2))["tv"].item() == 1


def test_methods_start_from_means_of_half_the_size() -> None:
    data = HierarchicalMixture(HierarchicalMixture.Config(n_train=10, n_valid=5), "smoke", 0).load_train()
    torch.testing.assert_close(data.shared["start"], 0.5 * offsets().float())
    assert data.spec.choices == (4, 4) and data.spec.noise == NOISE
