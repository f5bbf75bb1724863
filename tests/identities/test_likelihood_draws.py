"""Draws of likelihoods have the probabilities that the likelihoods say."""

from __future__ import annotations

import pytest
import torch

from elboard.methods.parts.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian

N = 200_000


@pytest.mark.parametrize("model", [Bernoulli(), DiscretisedLogistic(1, 4)], ids=["bernoulli", "discretised-logistic"])
def test_frequencies_of_draws_are_the_probabilities(model: torch.nn.Module) -> None:
    torch.manual_seed(0)
    values = torch.linspace(0, 1, getattr(model, "levels", 2))
    with torch.no_grad():
        drawn = model.draw(torch.full((N, 1), 0.4))[:, 0]
        expected = model.log_prob(values[:, None], torch.full((1, 1), 0.4)).exp()
    found = torch.stack([(drawn - value).abs() < 1e-6 for value in values]).float().mean(1)
    torch.testing.assert_close(expected.sum(), torch.tensor(1.0))
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * 0.5 / N**0.5)


def test_gaussian_draws_have_the_mean_and_the_scale() -> None:
    torch.manual_seed(0)
    model = Gaussian()
    model.log_std.data.fill_(-0.7)
    with torch.no_grad():
        drawn = model.draw(torch.full((N, 1), 0.4))
    assert abs(drawn.mean().item() - 0.4) < 4 * 0.5 / N**0.5 and abs(drawn.std().item() / torch.tensor(-0.7).exp().item() - 1) < 0.01
