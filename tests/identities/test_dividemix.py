"""Identities of DivideMix: its warm-up, the division by losses, targets and mixing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture

from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.noisy.dividemix import DivideMix, clean_probability, sharpened
from elboard.methods.parts.augmentation import shifted

IDENTITIES = {
    "dividemix": (
        "test_warm_up_of_dividemix_is_two_plain_trainings",
        "test_mixing_of_equal_examples_is_cross_entropy_of_their_targets",
        "test_targets_are_refined_guessed_and_sharpened",
    ),
}
SPEC = ClassSpec((1, 8, 8), 64, n_classes=4)


def make(**options):
    torch.manual_seed(0)
    return DivideMix(DivideMix.Config(**options), SPEC)


def batch_of(n=32):
    generator = torch.Generator().manual_seed(0)
    return {
        "x": torch.rand(n, *SPEC.shape, generator=generator),
        "y": torch.arange(n) % 4,
        "index": torch.randperm(64, generator=generator)[:n],
    }


def drawn(n, seed=0):
    """Probabilities ``(n, 4)``."""
    return (3 * torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))).softmax(1)


def dividing(**options):
    """A pair of networks that are sure of something, after the warm-up and the ramp, with w's of their own for all examples."""
    pair = make(**options)
    with torch.no_grad():
        for network in (pair, pair.peer):
            network.head.weight.mul_(8)
    pair.dividing, pair.progress = True, 1.0
    pair.clean.copy_(torch.rand(2, 64, generator=torch.Generator().manual_seed(3)))
    return pair


def test_warm_up_of_dividemix_is_two_plain_trainings():
    pair, batch = make(), batch_of()
    separate = sum(F.cross_entropy(network(batch["x"]), batch["y"]) for network in (pair, pair.peer))
    torch.testing.assert_close(pair.loss(batch)["loss"], separate)
    entropies = sum(torch.distributions.Categorical(logits=network(batch["x"])).entropy().mean() for network in (pair, pair.peer))
    torch.testing.assert_close(make(penalty=1.0).loss(batch)["loss"], separate - entropies)
    pair.training_step(batch, 0)
    assert pair.selected.nonzero().squeeze(1).tolist() == sorted(batch["index"].tolist())


def test_losses_are_divided_as_scikit_learn_does():
    generator = torch.Generator().manual_seed(0)
    losses = torch.cat([0.3 + 0.1 * torch.randn(300, generator=generator), 2.0 + 0.5 * torch.randn(200, generator=generator)])
    w = clean_probability(losses)
    scaled = ((losses - losses.min()) / (losses.max() - losses.min()))[:, None].double().numpy()
    other = GaussianMixture(2, reg_covar=5e-4, tol=1e-3, random_state=0).fit(scaled)
    expected = other.predict_proba(scaled)[:, other.means_.argmin()]
    torch.testing.assert_close(w.double(), torch.from_numpy(expected), atol=0.01, rtol=0)
    assert w[:300].mean() > 0.98 and w[300:].mean() < 0.02
    assert bool(clean_probability(torch.ones(10)).isfinite().all())


def test_each_network_learns_by_the_division_of_the_other():
    pair = make()
    pair._examples = {**batch_of(64), "index": torch.arange(64)}
    pair.divide()
    with torch.no_grad():
        losses = [F.cross_entropy(network(pair._examples["x"]), pair._examples["y"], reduction="none") for network in (pair.peer, pair)]
    torch.testing.assert_close(pair.clean, torch.stack([clean_probability(of) for of in losses]))
    assert not torch.allclose(pair.clean[0], pair.clean[1], atol=0.1)


def test_targets_are_refined_guessed_and_sharpened():
    p, both, y = drawn(8), drawn(8, seed=1), torch.arange(8) % 4
    w = torch.tensor([1.0, 0.8, 0.5, 0.49, 0.0, 0.2, 0.6, 1.0])
    found, labelled = make(temperature=1.0).targets(w, y, p, both)
    assert labelled.tolist() == [True, True, True, False, False, False, True, True]
    for i in range(8):
        given = torch.eye(4)[y[i]]
        torch.testing.assert_close(found[i], w[i] * given + (1 - w[i]) * p[i] if labelled[i] else both[i])
    torch.testing.assert_close(make().targets(w, y, p, both)[0], found**2 / (found**2).sum(1, keepdim=True))
    torch.testing.assert_close(sharpened(p, 0.01), F.one_hot(p.argmax(1), 4).float(), atol=1e-3, rtol=0)


def test_mixing_of_equal_examples_is_cross_entropy_of_their_targets():
    pair, x = dividing(), batch_of(1)["x"].repeat(12, 1, 1, 1)
    t = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).repeat(6, 1)
    log_p = pair(x).log_softmax(1).detach()
    ce, error = -(t[0] * log_p[0]).sum(), (log_p[0].exp() - t[0]).square().mean()
    balance = F.kl_div(log_p[0], torch.full((4,), 0.25), reduction="sum")
    of_all, of_none = torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)
    torch.testing.assert_close(pair.mixed(pair, x, t, of_all), ce + balance)
    torch.testing.assert_close(pair.mixed(pair, x, t, of_none), 25 * error + balance)
    torch.testing.assert_close(pair.mixed(pair, x, t, torch.arange(6) < 2), ce + 25 * error + balance)
    pair.progress = 0.33 + 0.25  # half of the ramp
    torch.testing.assert_close(pair.mixed(pair, x, t, of_none), 12.5 * error + balance)


def test_mixed_examples_stay_closer_to_the_first_and_count_as_it():
    pair, batch = dividing(), batch_of(6)
    x, t, labelled = batch["x"].repeat(2, 1, 1, 1), drawn(6), torch.arange(6) % 2 == 0
    torch.manual_seed(5)
    found = pair.mixed(pair.peer, x, t, labelled)
    torch.manual_seed(5)
    partner = torch.randperm(12)
    share = torch.distributions.Beta(torch.tensor(4.0), torch.tensor(4.0)).sample((12,))
    assert bool((share < 0.5).any())
    at, of_labelled, of_others, probabilities = torch.cat([t, t]), [], [], []
    for i in range(12):
        closer = max(share[i].item(), 1 - share[i].item())
        target = closer * at[i] + (1 - closer) * at[partner[i]]
        log_p = pair.peer((closer * x[i] + (1 - closer) * x[partner[i]])[None]).log_softmax(1)[0]
        probabilities.append(log_p.exp())
        if labelled[i % 6]:
            of_labelled.append(-(target * log_p).sum())
        else:
            of_others.append((log_p.exp() - target).square().mean())
    mean = torch.stack(probabilities).mean(0)
    expected = sum(of_labelled) / 6 + 25 * sum(of_others) / 6 + (0.25 * (0.25 / mean).log()).sum()
    torch.testing.assert_close(found, expected)


def test_dividemix_teaches_both_networks_by_their_own_targets(monkeypatch: pytest.MonkeyPatch):
    pair, batch = dividing(), batch_of()
    monkeypatch.setattr("elboard.methods.noisy.dividemix.shifted", lambda x: x)
    seen = []
    monkeypatch.setattr(pair, "mixed", lambda *given: seen.append(given) or given[0](given[1]).sum())
    out, kept = pair.teach(batch)
    with torch.no_grad():
        guesses = [network(batch["x"]).softmax(1) for network in (pair, pair.peer)]
    for k, (network, x, targets, labelled) in enumerate(seen):
        w = pair.clean[k, batch["index"]]
        assert network is (pair, pair.peer)[k] and torch.equal(x, torch.cat([batch["x"]] * 2)) and torch.equal(labelled, w >= 0.5)
        torch.testing.assert_close(targets, pair.targets(w, batch["y"], guesses[k], sum(guesses) / 2)[0])
        assert not targets.requires_grad
    assert torch.equal(kept, pair.clean[0, batch["index"]] >= 0.5) and out["loss"].requires_grad


def test_views_are_shifted_copies():
    for side, most in ((8, 1), (28, 2)):
        x = torch.rand(20, 1, side, side)
        padded, found = F.pad(x, (most,) * 4), set()
        for image, moved in zip(padded, shifted(x), strict=True):
            places = [(i, j) for i in range(2 * most + 1) for j in range(2 * most + 1)]
            same = [(i, j) for i, j in places if torch.equal(image[:, i : i + side, j : j + side], moved)]
            assert len(same) == 1
            found |= {*same}
        assert len(found) > 4
