"""What must hold exactly of clusters of normal images and anomalies, and of detectors that reconstruct."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.anomaly import AnomalySpec
from elboard.bench.task import Data
from elboard.methods.anomaly.cnn_anomaly import CNNAnomaly
from elboard.methods.anomaly.pixel_gaussian import PixelGaussian
from elboard.methods.vae.cl_vae_anomaly import CLVAEAnomaly
from elboard.methods.vae.cl_vae_anomaly_discrepancy import CARD, CLVAEDiscrepancy
from elboard.methods.vae.vae import VAE
from elboard.methods.vae.vae_anomaly import VAEAnomaly

IDENTITIES = {
    "cl-vae-anomaly": (
        "test_with_both_centres_at_the_origin_it_is_the_vae",
        "test_the_kl_is_that_of_monte_carlo_and_uses_the_mean",
        "test_the_score_is_twice_the_log_likelihood_ratio_of_the_priors",
        "test_a_squared_margin_would_be_a_larger_weight_of_the_kl",
        "test_swapping_labels_and_centres_changes_the_sign_of_the_score_alone",
        "test_codes_of_the_priors_are_confused_as_often_as_the_separation_says",
        "test_centroids_that_are_apart_cost_nothing_and_one_kind_has_none",
    ),
    "cl-vae-anomaly-discrepancy": ("test_without_discrepancy_it_is_the_model_of_three_channels",),
    "vae-anomaly": ("test_of_normal_images_it_is_the_vae", "test_scores_are_the_sum_of_squares_and_the_peak_of_the_map"),
    "cnn-anomaly": ("test_the_classifier_s_loss_is_the_mean_of_both_kinds",),
    "pixel-gaussian": ("test_the_sum_is_the_log_likelihood_of_independent_gaussians",),
}
SPEC = AnomalySpec((3, 8, 8), 100, likelihood="gaussian", network="conv-4-8")


def batch(n: int = 12, share: float = 0.5) -> dict[str, Tensor]:
    x = torch.rand(n, *SPEC.shape, generator=torch.Generator().manual_seed(1))
    return {"x": x, "y": (torch.arange(n) < share * n).long()}


def build(cls: Any = CLVAEAnomaly, bases: Any = None, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(cls.Config(**options), SPEC, bases)


def graded(method: Any, given: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(5)
    method.zero_grad()
    out = method.loss(given)
    out["loss"].backward()
    return out, {name: p.grad for name, p in method.named_parameters()}


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_with_both_centres_at_the_origin_it_is_the_vae(beta: float) -> None:
    """Loss and gradients, without the terms that separate."""
    method = build(separation=0.0, distance=0.0, margin=0.0, beta=beta)
    plain = VAE(VAE.Config(latent_dim=16, beta=beta), SPEC)
    plain.load_state_dict({name: value for name, value in method.state_dict().items() if name not in ("centres", "weights")})
    (ours, gradients), (theirs, wanted) = graded(method, batch()), graded(plain, batch())
    assert ours["loss"].item() == pytest.approx(theirs["loss"].item(), rel=1e-6)
    assert gradients.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(gradients[name], wanted[name], atol=1e-5, rtol=1e-4)


def test_the_kl_is_that_of_monte_carlo_and_uses_the_mean() -> None:
    """It is least at the centre with variance 1, where it is 0; with the sample in the mean's place the variance would be counted twice and
    the least lie at 1/2."""
    method, given = build(margin=0.0, distance=0.0, balanced=False).double(), batch(4)
    given["x"] = given["x"].double()
    q = method.posterior(method.encoder(given["x"]))
    z = q.mean + (0.5 * q.logvar).exp() * torch.randn(200_000, 4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    centre, std = method.centres[given["y"]], (0.5 * q.logvar).exp()
    ratio = torch.distributions.Normal(q.mean, std).log_prob(z) - torch.distributions.Normal(centre, 1.0).log_prob(z)
    terms = method.terms(given["x"], centre)
    error = ratio.sum(2).std(0) / 200_000**0.5
    assert ((terms["kl"] - ratio.sum(2).mean(0)).abs() < 5 * error).all()
    with torch.no_grad():
        method.posterior.weight.zero_()
        method.posterior.bias.zero_()
        method.posterior.bias[:16] = method.centres[1, 0]
    one = torch.ones(4, dtype=torch.long)
    assert method.terms(given["x"], method.centres[one])["kl"].abs().max() < 1e-12
    assert method.terms(given["x"], method.centres[1 - one])["kl"].mean().item() == pytest.approx(0.5 * 6.0**2)


def test_the_score_is_twice_the_log_likelihood_ratio_of_the_priors() -> None:
    method, x = build().double(), batch()["x"].double()
    mean = method.represent(x)
    normal, anomalous = (torch.distributions.Normal(centre, 1.0).log_prob(mean).sum(1) for centre in method.centres)
    torch.testing.assert_close(method.anomaly_score(x), 2 * (anomalous - normal))
    r = 3.0 / math.sqrt(16)
    torch.testing.assert_close(method.anomaly_score(x), 4 * r * mean.sum(1), atol=1e-6, rtol=1e-6)


def test_a_squared_margin_would_be_a_larger_weight_of_the_kl() -> None:
    """L_i = |mu - c_own|^2 adds b to the beta / 2 of the KL's mean part: nothing new. The margin form has other gradients."""
    method, given = build(beta=0.7, margin=0.0, distance=0.0, balanced=False), batch()
    q = method.posterior(method.encoder(given["x"]))
    own = (q.mean - method.centres[given["y"]]).square().sum(1).mean()
    squared = torch.autograd.grad(0.7 * 0.5 * own + 0.2 * own, method.posterior.weight, retain_graph=True)[0]
    larger = torch.autograd.grad((0.7 + 2 * 0.2) * 0.5 * own, method.posterior.weight, retain_graph=True)[0]
    torch.testing.assert_close(squared, larger)
    l_i = method.separating(q.mean, given["y"])[1].mean()
    found = torch.autograd.grad(l_i, method.posterior.weight, retain_graph=True)[0]
    direction = torch.cosine_similarity(found.flatten(), larger.flatten(), dim=0)
    assert direction < 0.999


def test_the_separating_terms_by_hand() -> None:
    method, y = build(), torch.tensor([0, 0, 1])
    mean = torch.randn(3, 16, generator=torch.Generator().manual_seed(3))
    l_distance, l_i = method.separating(mean, y)
    apart = ((mean[0] + mean[1]) / 2 - mean[2]).norm()
    assert l_distance.item() == pytest.approx((6.0 - apart.item()) ** 2 if apart < 6 else 0, rel=1e-5)
    for found, mu, own in zip(l_i, mean, y.tolist(), strict=True):
        wanted = (mu - method.centres[own]).norm() - (mu - method.centres[1 - own]).norm() + 3.0
        assert found.item() == pytest.approx(max(wanted.item(), 0), abs=1e-5)
    assert method.separating(method.centres[y], y)[1].max() == 0, "codes at their centres are 6 nearer to these than to the others"


def test_swapping_labels_and_centres_changes_the_sign_of_the_score_alone() -> None:
    method, given = build(balanced=False), batch(share=0.25)
    first, score = graded(method, given)[0], method.anomaly_score(given["x"])
    method.centres.copy_(method.centres.flip(0))
    second = graded(method, {**given, "y": 1 - given["y"]})[0]
    assert first["loss"].item() == pytest.approx(second["loss"].item(), rel=1e-6)
    torch.testing.assert_close(method.anomaly_score(given["x"]), -score)


@pytest.mark.parametrize("separation", [0.5, 1.0, 2.0])
def test_codes_of_the_priors_are_confused_as_often_as_the_separation_says(separation: float) -> None:
    method = build(separation=separation)
    z = method.centres[1] + torch.randn(100_000, 16, generator=torch.Generator().manual_seed(4))
    to = method.distances(z)
    expected = 0.5 * math.erfc(separation / math.sqrt(2))
    assert (to[:, 0] < to[:, 1]).double().mean().item() == pytest.approx(expected, abs=5 * math.sqrt(expected / 100_000))


def test_centroids_that_are_apart_cost_nothing_and_one_kind_has_none() -> None:
    method, given = build(), batch()
    assert method.separating(method.centres[given["y"]] * 1.01, given["y"])[0] == 0
    assert method.separating(method.centres[given["y"]] * 0.5, given["y"])[0].item() == pytest.approx(9.0, rel=1e-5)
    for y in (0, 1):
        out, gradients = graded(method, {**given, "y": torch.full_like(given["y"], y)})
        assert out["distance"] == 0 and all(g.isfinite().all() for g in gradients.values())


def test_noise_starts_at_the_spread_around_the_mean_image() -> None:
    method, given = build(VAEAnomaly), batch(40)
    method.prepare(Data(SPEC, given))
    spread = (given["x"] - given["x"].mean(0)).square().mean().sqrt().item()
    assert method.likelihood.log_std.exp().item() == pytest.approx(spread, rel=1e-3)


def test_both_kinds_weigh_the_same_whatever_their_shares() -> None:
    method, given = build(distance=0.0), batch(20, share=0.2)
    method.prepare(Data(SPEC, given))
    torch.manual_seed(5)
    loss = method.loss(given)["loss"].item()
    torch.manual_seed(5)
    terms = method.terms(given["x"], method.centres[given["y"]])
    each = terms["reconstruction"] + terms["kl"] + 100 * method.separating(terms["mean"], given["y"])[1]
    assert loss == pytest.approx(0.5 * (each[given["y"] == 0].mean() + each[given["y"] == 1].mean()).item(), rel=1e-5)


def test_images_of_a_kind_are_decoded_from_its_own_cluster() -> None:
    method, seen = build(), []
    method.decode = lambda z: seen.append(z) or z
    method.generate(torch.ones(20_000, dtype=torch.long))
    torch.testing.assert_close(seen[0].mean(0), method.centres[1], atol=0.04, rtol=0)
    torch.testing.assert_close(seen[0].std(0), torch.ones(16), atol=0.03, rtol=0)


def test_without_discrepancy_it_is_the_model_of_three_channels() -> None:
    """A perfect re-synthesis has none; and what there is reaches the score."""

    class Perfect:
        def reconstruct(self, x: Tensor) -> Tensor:
            return x

    plain, given = build(), batch()
    method = build(CLVAEDiscrepancy, {"resynthesis": build(VAEAnomaly)})
    state = plain.state_dict()
    state["encoder.0.weight"] = torch.cat([state["encoder.0.weight"], torch.randn(4, 1, 4, 4)], dim=1)
    method.load_state_dict(state)
    assert not torch.allclose(method.anomaly_score(given["x"]), plain.anomaly_score(given["x"]), atol=1e-4)
    assert method.seen(given["x"])[:, 3].min() >= 0 and method.seen(given["x"])[:, 3].max() <= 1
    method.bases["resynthesis"] = Perfect()
    assert method.seen(given["x"])[:, 3].abs().max() == 0
    torch.testing.assert_close(method.anomaly_score(given["x"]), plain.anomaly_score(given["x"]), atol=1e-5, rtol=1e-5)


def test_the_re_synthesis_is_not_trained_again() -> None:
    base = build(VAEAnomaly)
    method = build(CLVAEDiscrepancy, {"resynthesis": base})
    graded(method, batch())
    assert all(p.grad is None for p in base.parameters()) and not any(name.startswith("bases") for name, _ in method.named_parameters())
    assert CARD.bases["resynthesis"]["method"] == "vae-anomaly" and base.config.normal_only, "trained on normal images"


def test_of_normal_images_it_is_the_vae() -> None:
    """Whatever anomalies the batch has beside them."""
    method, given = build(VAEAnomaly), batch(share=0.0)
    plain = VAE(VAE.Config(latent_dim=16), SPEC)
    plain.load_state_dict(method.state_dict())
    (ours, gradients), (theirs, wanted) = graded(method, given), graded(plain, given)
    assert ours["loss"].item() == pytest.approx(theirs["loss"].item(), rel=1e-6)
    assert all(torch.allclose(gradients[name], wanted[name], atol=1e-5, rtol=1e-4) for name in wanted)
    mixed = batch(share=0.5)
    out = graded(method, mixed)[0]["loss"].item()
    torch.manual_seed(5)
    each = plain.elbo(mixed["x"])["elbo"]
    assert out == pytest.approx(-each[mixed["y"] == 0].mean().item(), rel=1e-5)
    everything = graded(build(VAEAnomaly, normal_only=False), mixed)[0]["loss"].item()
    assert everything == pytest.approx(-each.mean().item(), rel=1e-5)


def test_scores_are_the_sum_of_squares_and_the_peak_of_the_map() -> None:
    x = batch()["x"]
    total, peak = build(VAEAnomaly), build(VAEAnomaly, score="max")
    copy = total.decode(total.posterior(total.encoder(x)).mean)
    torch.testing.assert_close(total.anomaly_score(x), ((x - copy) ** 2).flatten(1).sum(1))
    torch.testing.assert_close(peak.anomaly_score(x), peak.anomaly_map(x).flatten(1).max(1).values)


def test_the_classifier_s_loss_is_the_mean_of_both_kinds() -> None:
    torch.manual_seed(0)
    method, given = CNNAnomaly(CNNAnomaly.Config(), SPEC), batch(20, share=0.2)
    method.prepare(Data(SPEC, given))
    score = method.anomaly_score(given["x"])
    wanted = 0.5 * (-(1 - score[given["y"] == 0].sigmoid()).log().mean() - score[given["y"] == 1].sigmoid().log().mean())
    assert method.loss(given)["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_sum_is_the_log_likelihood_of_independent_gaussians() -> None:
    method, given = PixelGaussian(PixelGaussian.Config(), SPEC), batch(30, share=0.2)
    method.fit(Data(SPEC, given), None)
    normal = given["x"][given["y"] == 0]
    law = torch.distributions.Normal(normal.mean(0), normal.std(0, correction=0))
    log_p, peak = law.log_prob(given["x"]).flatten(1).sum(1), law.log_prob(law.mean).sum()
    torch.testing.assert_close(method.anomaly_score(given["x"]), -2 * (log_p - peak) / 3, atol=1e-2, rtol=1e-4)
