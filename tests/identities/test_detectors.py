"""Post-hoc scores against pytorch-ood's on one small network, and what must hold of each exactly. What they share: ``test_ood.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detecting import GIVEN, TEST, N, X, Y, base, features, fitted, logits, scores
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.ood import OODSpec
from elboard.methods.ood.ash import ASH
from elboard.methods.ood.dice import DICE
from elboard.methods.ood.energy import Energy
from elboard.methods.ood.entropy import Entropy
from elboard.methods.ood.gen import GEN
from elboard.methods.ood.gradnorm import GradNorm
from elboard.methods.ood.kl_matching import NONE, KLMatching
from elboard.methods.ood.knn import KNN
from elboard.methods.ood.mahalanobis import Mahalanobis, whitening
from elboard.methods.ood.max_logit import MaxLogit
from elboard.methods.ood.msp import MSP
from elboard.methods.ood.odin import ODIN
from elboard.methods.ood.relative_mahalanobis import RelativeMahalanobis
from elboard.methods.ood.scale import SCALE
from elboard.methods.ood.vim import ViM

IDENTITIES = {
    "max-logit": ("test_the_scores_of_another_implementation", "test_energy_between_the_largest_logit_and_their_mean"),
    "entropy": ("test_the_scores_of_another_implementation", "test_entropy_of_certainty_and_of_none"),
    "gen": (
        "test_the_scores_of_another_implementation",
        "test_gen_of_gamma_one_is_gini",
        "test_gen_does_not_round_confident_images_to_zero",
    ),
    "gradnorm": ("test_the_scores_of_another_implementation", "test_gradnorm_is_the_norm_of_the_gradient"),
    "odin": (
        "test_the_scores_of_another_implementation",
        "test_odin_at_rest_is_msp",
        "test_odin_steps_up_the_largest_probability",
        "test_odin_at_high_temperature",
        "test_odin_does_not_round_at_high_temperature",
    ),
    "kl-matching": (
        "test_the_scores_of_another_implementation",
        "test_kl_matching_of_a_typical_posterior",
        "test_kl_matching_leaves_out_classes_without_a_posterior",
    ),
    "mahalanobis": (
        "test_the_scores_of_another_implementation",
        "test_mahalanobis_of_unit_covariance_is_euclid",
        "test_mahalanobis_by_solving",
        "test_mahalanobis_leaves_out_dead_units",
    ),
    "relative-mahalanobis": (
        "test_the_scores_of_another_implementation",
        "test_relative_mahalanobis_of_one_class_is_zero",
        "test_relative_mahalanobis_of_what_all_share_is_zero",
    ),
    "knn": (
        "test_the_scores_of_another_implementation",
        "test_knn_of_a_training_image_is_zero",
        "test_knn_by_all_distances",
        "test_knn_of_images_without_activations",
    ),
    "vim": (
        "test_the_scores_of_another_implementation",
        "test_vim_without_a_rest_is_energy",
        "test_vim_matches_its_logit_to_the_largest",
        "test_vim_of_too_few_images_is_energy",
    ),
    "ash": (
        "test_the_scores_of_another_implementation",
        "test_ash_without_pruning_is_energy",
        "test_ash_keeps_sums",
        "test_ash_raises_no_zeros",
    ),
    "scale": (
        "test_the_scores_of_another_implementation",
        "test_scale_without_pruning_scales_by_e",
        "test_scale_is_ash_s_where_nothing_is_pruned_away",
    ),
    "dice": (
        "test_the_scores_of_another_implementation",
        "test_dice_without_pruning_is_energy",
        "test_dice_by_hand",
        "test_dice_prunes_units_that_never_fire",
    ),
}

PEERS = {  # its score as a function of ours
    "max-logit": (MaxLogit, {}, lambda s: s),
    "entropy": (Entropy, {}, lambda s: s),
    "gen": (GEN, {"gamma": 0.3, "top": 3}, lambda s: s / 3),  # the mean of the terms
    "gradnorm": (GradNorm, {}, lambda s: s),
    "odin": (ODIN, {"epsilon": 0.02, "temperature": 10.0}, lambda s: s - 1 / 5),
    "kl-matching": (KLMatching, {}, lambda s: s),
    "mahalanobis": (Mahalanobis, {}, lambda s: s / (2 * N)),  # half the distance, of a covariance that is not divided by N
    "relative-mahalanobis": (RelativeMahalanobis, {}, lambda s: s / N),
    "knn": (KNN, {"k": 7}, lambda s: s),
    "vim": (ViM, {"principal": 0.5}, lambda s: s),
    "dice": (DICE, {"p": 0.7}, lambda s: s),
    "ash-p": (ASH, {"variant": "p", "p": 0.8}, lambda s: s),
    "ash-b": (ASH, {"variant": "b", "p": 0.8}, lambda s: s),
    "ash-s": (ASH, {"variant": "s", "p": 0.8}, lambda s: s),
    "scale": (SCALE, {"p": 0.8}, lambda s: s),
}


@pytest.mark.parametrize("name", PEERS)
def test_the_scores_of_another_implementation(name: str) -> None:
    """pytorch-ood 0.4.0; the recipe is ``tests/fixtures/detectors.py``. It adds 1e-6 to covariances that are not divided by N."""
    cls, options, theirs = PEERS[name]
    np.testing.assert_allclose(theirs(scores(fitted(cls, **options)).numpy()), GIVEN[f"score_{name}"], rtol=1e-6, atol=1e-9)


def test_the_fixture_holds_all_peers() -> None:
    assert {name.removeprefix("score_") for name in GIVEN if name.startswith("score_")} == set(PEERS)


def test_energy_between_the_largest_logit_and_their_mean() -> None:
    at_rest, hot = (scores(fitted(Energy, temperature=t)) for t in (1e-4, 1e6))
    torch.testing.assert_close(at_rest, scores(fitted(MaxLogit)), rtol=0, atol=1e-3)
    torch.testing.assert_close(hot + 1e6 * math.log(5), -logits().mean(1), rtol=0, atol=1e-4)


def test_entropy_of_certainty_and_of_none() -> None:
    given = torch.tensor([[0.0, 0, 0, 0, 0], [200.0, 0, 0, 0, 0], [3.0, 3.0, -200, -200, -200]])
    torch.testing.assert_close(fitted(Entropy).score(given, given), torch.tensor([math.log(5), 0, math.log(2)]))


def test_gen_of_gamma_one_is_gini() -> None:
    torch.testing.assert_close(scores(fitted(GEN, gamma=1.0)), 1 - logits().softmax(1).square().sum(1))


def test_gen_does_not_round_confident_images_to_zero() -> None:
    """In float32 a probability of 1 - 1e-10 is 1."""
    given = torch.tensor([[25.0, 0.0, 0.0, 0.0, 0.0]])
    p = given.double().softmax(1)
    torch.testing.assert_close(fitted(GEN).score(given, given).double(), (p * (1 - p)).pow(0.1).sum(1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradnorm_is_the_norm_of_the_gradient(temperature: float) -> None:
    of = base()
    found = []
    for x in TEST[:10]:
        log_p = (of(x[None]) / temperature).log_softmax(1)
        kl = -log_p.mean() - math.log(5)
        found.append(-torch.autograd.grad(kl, of.head.weight)[0].abs().sum())
    torch.testing.assert_close(scores(fitted(GradNorm, temperature=temperature), TEST[:10]), torch.stack(found))


def test_odin_at_rest_is_msp() -> None:
    torch.testing.assert_close(scores(fitted(ODIN, temperature=1.0, epsilon=0.0)) + 1 - 1 / 5, scores(fitted(MSP)))


def test_odin_steps_up_the_largest_probability() -> None:
    """Every pixel moves by epsilon or not at all, uphill by finite differences, without gradients being on."""
    method = fitted(ODIN, temperature=10.0, epsilon=0.01)
    with torch.no_grad():
        moved = method.stepped(TEST) - TEST
    assert set(moved.abs().mul(1e6).round().unique().tolist()) <= {0.0, 1e4}

    def log_s(x: Tensor) -> Tensor:
        return (logits(x) / 10).log_softmax(1).max(1).values

    for pixel in range(0, 64, 9):
        step = torch.zeros_like(TEST)
        step.flatten(1)[:, pixel] = 1e-6
        slope = log_s(TEST + step) - log_s(TEST - step)
        sure = slope.abs() > 1e-11
        assert sure.any() and torch.equal(slope.sign()[sure], moved.flatten(1)[:, pixel].sign()[sure])
    assert (scores(method) < scores(fitted(ODIN, temperature=10.0, epsilon=0.0))).all()


def test_odin_at_high_temperature() -> None:
    """To first order in 1 / T, C S = 1 + (largest logit - their mean) / T."""
    found = -5 * scores(fitted(ODIN, temperature=1e6, epsilon=0.0)) * 1e6
    torch.testing.assert_close(found, logits().max(1).values - logits().mean(1), rtol=0, atol=1e-4)


def test_odin_does_not_round_at_high_temperature() -> None:
    """In float32 the largest of five probabilities that differ by 1e-8 is one of four numbers."""
    given = torch.cat([torch.linspace(0, 1e-3, 50)[:, None], torch.zeros(50, 4)], dim=1)
    method = fitted(ODIN)
    torch.testing.assert_close(method.score(given, given).double(), 1 / 5 - (given.double() / 1000).softmax(1)[:, 0], rtol=1e-4, atol=1e-12)
    assert (method.score(given, given).diff() < 0).all()


def test_kl_matching_of_a_typical_posterior() -> None:
    method = fitted(KLMatching)
    torch.testing.assert_close(method.log_typical.exp().sum(1), torch.ones(5).double())
    torch.testing.assert_close(method.score(features(), method.log_typical), torch.zeros(5).double())
    assert scores(method).min() > 0
    method.log_typical.fill_(-math.log(5))
    torch.testing.assert_close(scores(method), math.log(5) - scores(fitted(Entropy)))


def test_kl_matching_leaves_out_classes_without_a_posterior() -> None:
    of = base()
    with torch.no_grad():
        of.head.bias[2] -= 100
        of.head.bias[4] -= 1000  # whose probability is 0 in float32
    method = fitted(KLMatching, of)
    assert (method.log_typical[[2, 4]] == NONE).all() and (method.log_typical[[0, 1, 3]] > NONE).all()
    for found in (scores(method), method.score(features(), of(TEST).detach().float())):
        assert found.isfinite().all() and found.max() < 10


def test_mahalanobis_of_unit_covariance_is_euclid() -> None:
    method = fitted(Mahalanobis)
    method.white.copy_(torch.eye(16))
    torch.testing.assert_close(scores(method), torch.cdist(features(), method.means).square().min(1).values)


def test_mahalanobis_by_solving() -> None:
    z, of = features(X).numpy(), features().numpy()
    means = np.stack([z[Y.numpy() == c].mean(0) for c in range(5)])
    sigma = np.cov((z - means[Y.numpy()]).T, bias=True)
    expected = [min((z - mean) @ np.linalg.solve(sigma, z - mean) for mean in means) for z in of]
    np.testing.assert_allclose(scores(fitted(Mahalanobis)), expected, rtol=1e-8)


def test_mahalanobis_leaves_out_dead_units() -> None:
    z = features(X) - features(X).mean(0)
    wider = torch.cat([z, torch.zeros(N, 2), z[:, :1]], dim=1)  # two that never fire, and a copy
    a = whitening(wider)
    torch.testing.assert_close(a @ a.T, torch.linalg.pinv(wider.T @ wider / N, hermitian=True), rtol=1e-6, atol=1e-8)
    assert torch.equal(whitening(torch.zeros(4, 3)), torch.zeros(3, 3))


def test_a_class_without_images_is_near_to_nothing() -> None:
    method = fitted(Mahalanobis)
    method.learn(features(X), torch.where(Y == 3, 0, Y))
    assert method.distances(features()).shape == (len(TEST), 4) and scores(method).isfinite().all()


def test_relative_mahalanobis_of_one_class_is_zero() -> None:
    method = fitted(RelativeMahalanobis)
    of_one = RelativeMahalanobis(method.config, OODSpec((1, 8, 8), N, likelihood="bernoulli", levels=2, n_classes=1), method.bases).double()
    of_one.learn(features(X), torch.zeros_like(Y))
    torch.testing.assert_close(scores(of_one), torch.zeros(len(TEST)).double(), rtol=0, atol=1e-9)


def test_relative_mahalanobis_of_what_all_share_is_zero() -> None:
    """Of a unit that varies little and alike in all classes, though beside the distance of their means that is next to nothing."""
    method, z = fitted(RelativeMahalanobis), features(X) + 100 * torch.eye(16)[Y]
    little = 1e-2 * torch.eye(16)[15]
    z[:, 15] = 0
    method.learn(torch.cat([z - little, z + little]), torch.cat([Y, Y]))
    plain = method.score(z, z)
    torch.testing.assert_close(method.score(z + 100 * little, z), plain)
    assert (method.distances(z + 100 * little) > 9_000).all()


def test_knn_of_a_training_image_is_zero() -> None:
    assert torch.equal(scores(fitted(KNN, k=1), X[:40]), torch.zeros(40).double())
    assert torch.equal(scores(fitted(KNN, k=N + 1)), scores(fitted(KNN, k=N)))


@pytest.mark.parametrize("k", [1, 5, N])
def test_knn_by_all_distances(k: int) -> None:
    known, u = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (features(X).numpy(), features().numpy()))
    distances = np.sort(np.linalg.norm(u[:, None] - known, axis=2), axis=1)
    np.testing.assert_allclose(scores(fitted(KNN, k=k)), distances[:, k - 1], rtol=1e-9)


def test_knn_of_images_without_activations() -> None:
    """On the sphere the nearest have the largest inner product; a zero vector is off it."""
    z = torch.stack([torch.zeros(16), torch.eye(16)[0]]).double()
    for k, expected in ((1, [0, 1]), (2, [1, math.sqrt(1.5)]), (N, [1, math.sqrt(1.5)])):
        method = fitted(KNN, k=k)
        method.known.fill_(1 / 4)[-1] = 0
        torch.testing.assert_close(method.score(z, z), torch.tensor(expected).double())


def test_vim_without_a_rest_is_energy() -> None:
    """Features moved along directions of the rest change the virtual logit alone, and without it the score is the energy."""
    method, z = fitted(ViM), features()
    plain = method.logits(z).detach()
    torch.testing.assert_close(method.base.head(method.origin).detach(), torch.zeros(5).double(), rtol=0, atol=1e-9)
    inside = z - (z - method.origin) @ method.rest @ method.rest.T
    torch.testing.assert_close(method.score(inside, plain), -plain.logsumexp(1))
    torch.testing.assert_close(method.rest.T @ method.rest, torch.eye(8).double())
    assert (method.score(inside + 3 * method.rest[:, 0], plain) > method.score(inside, plain)).all()


def test_vim_matches_its_logit_to_the_largest() -> None:
    method, z = fitted(ViM, principal=0.25), features(X)
    virtual = method.score(z, logits(X)) + logits(X).logsumexp(1)
    torch.testing.assert_close(virtual.mean(), logits(X).max(1).values.mean())
    assert method.rest.shape == (16, 12)


@pytest.mark.parametrize("n", [1, 6])
def test_vim_of_too_few_images_is_energy(n: int) -> None:
    """Which lie in the principal directions but for rounding: a large alpha would score that."""
    method = fitted(ViM, x=X[:n], y=Y[:n])
    assert method.alpha == 0 and fitted(ViM).alpha > 0.1
    torch.testing.assert_close(scores(method), scores(fitted(Energy)))


def test_ash_without_pruning_is_energy() -> None:
    torch.testing.assert_close(scores(fitted(ASH, variant="p", p=0.0)), scores(fitted(Energy)))


def test_ash_keeps_sums() -> None:
    z = features()
    pruned, binary, scaled = (fitted(ASH, variant=variant, p=0.7).rectify(z) for variant in "pbs")
    kept = 16 - round(0.7 * 16)
    assert ((pruned > 0) == (scaled > 0)).all() and (pruned > 0).sum(1).max() == kept
    torch.testing.assert_close(binary.sum(1), z.sum(1))
    assert (binary > 0).sum(1).unique().tolist() == [kept]
    torch.testing.assert_close(scaled, pruned * (z.sum(1) / pruned.sum(1)).exp()[:, None])


@pytest.mark.parametrize("variant", "pbs")
def test_ash_raises_no_zeros(variant: str) -> None:
    """Which of them are kept is nothing of the image."""
    found = fitted(ASH, variant=variant, p=0.5).rectify(torch.eye(16)[:3] * 4)
    assert ((found > 0) == (torch.eye(16)[:3] > 0)).all()
    assert variant != "b" or torch.equal(found, torch.eye(16)[:3] * 4)


@pytest.mark.parametrize("cls", [ASH, SCALE])
def test_images_without_activations_have_the_bias(cls: type) -> None:
    method = fitted(cls)
    assert torch.equal(method.rectify(torch.zeros(2, 16)), torch.zeros(2, 16))
    with pytest.raises(UserError, match="non-negative"):
        method.learn(features(X) - 1, Y)


def test_scale_without_pruning_scales_by_e() -> None:
    w, b = (p.detach() for p in base().head.parameters())
    torch.testing.assert_close(scores(fitted(SCALE, p=0.0)), -(math.e * features() @ w.T + b).logsumexp(1))


def test_scale_is_ash_s_where_nothing_is_pruned_away() -> None:
    scale, ash = fitted(SCALE, p=0.5), fitted(ASH, variant="s", p=0.5)
    z = features()
    torch.testing.assert_close(scale.rectify(z)[ash.rectify(z) > 0], ash.rectify(z)[ash.rectify(z) > 0])
    sparse = fitted(ASH, variant="p", p=0.5).rectify(z)
    torch.testing.assert_close(scale.rectify(sparse), math.e * sparse)
    assert not torch.allclose(scale.rectify(z), ash.rectify(z))


def test_dice_without_pruning_is_energy() -> None:
    torch.testing.assert_close(scores(fitted(DICE, p=0.0)), scores(fitted(Energy)))


def test_dice_by_hand() -> None:
    method = fitted(DICE, p=0.9)
    w, b = (p.detach().numpy() for p in base().head.parameters())
    contribution = w * features(X).numpy().mean(0)
    mask = np.zeros(w.shape)
    for c, j in sorted(np.ndindex(w.shape), key=lambda at: -contribution[at])[:8]:  # a tenth of 80
        mask[c, j] = 1
    np.testing.assert_array_equal(method.mask, mask)
    np.testing.assert_allclose(scores(method), -np.log(np.exp(features().numpy() @ (w * mask).T + b).sum(1)), rtol=1e-9)


def test_dice_prunes_units_that_never_fire() -> None:
    method, z = fitted(DICE, p=0.5), features(X).clone()
    z[:, :12] = 0
    method.learn(z, Y)
    contribution = fitted(DICE).last_layer()[0] * z.mean(0)
    assert (contribution > 0).sum() < 40 and torch.equal(method.mask == 1, contribution > 0)
