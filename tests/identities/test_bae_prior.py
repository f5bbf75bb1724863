"""What must hold exactly of Bayesian autoencoders: chains, matched priors, mixtures of codes; of their baselines; and of their task."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import BayesianGaussianMixture

from elboard.bench.errors import UserError
from elboard.bench.evidence import scored
from elboard.bench.kinds.few import FewSpec
from elboard.bench.task import Data
from elboard.methods.bayesian.bae_prior import BAEPrior
from elboard.methods.bayesian.matched_prior import matched_prior
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.code_mixtures import CodeMixtures
from elboard.methods.parts.dswd import DSWD, sliced
from elboard.methods.parts.sghmc import SGHMC
from elboard.methods.vae.few_autoencoders import FewAutoencoders
from elboard.tasks.generation.mnist_small import MNISTSmall

IDENTITIES = {
    "bae-prior": (
        "test_the_chain_has_the_law_of_its_target",
        "test_the_potential_is_that_of_the_posterior",
        "test_weights_that_no_image_speaks_of_keep_the_law_of_the_prior",
        "test_predictions_average_likelihoods",
    ),
    "few-autoencoders": ("test_without_noise_the_loss_is_the_likelihood", "test_the_bound_of_the_noisy_one_is_the_vaes"),
}
SPEC = FewSpec((6,), 40, sizes=(20, 40))
SMALL = {"hidden": [5], "latent_dim": 2, "components": 2}
QUICK = {"samples": 3, "draws": 4, "projections": 20, "inner": 2}


def build(of: Any = BAEPrior, **options: Any) -> Any:
    torch.manual_seed(0)
    return of(of.Config(**(SMALL | (QUICK if of is BAEPrior else {}) | options)), SPEC)


def images(n: int = 40, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 6, generator=torch.Generator().manual_seed(seed))


# --- chains -----------------------------------------------------------------------------------------


def test_the_chain_has_the_law_of_its_target() -> None:
    """4,000 independent chains of N(2, 0.5^2)."""
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.zeros(4000))
    chain = SGHMC([w], lr=0.03, decay=0.05)
    for step in range(1500):
        chain.param_groups[0]["adapting"] = step < 500
        w.grad = (w.detach() - 2) / 0.25
        chain.step()
    assert w.mean().item() == pytest.approx(2, abs=0.03) and w.var().item() == pytest.approx(0.25, rel=0.1)


def test_one_step_of_the_chain() -> None:
    w = torch.nn.Parameter(torch.tensor([1.0]))
    chain = SGHMC([w], lr=0.1, decay=0.05)
    w.grad = torch.tensor([3.0])
    torch.manual_seed(0)
    chain.step()
    state = chain.state[w]
    assert [state[name].item() for name in ("tau", "g", "v")] == [1.0, 2.0, 5.0], "1/2 of the way from 1 to 3 and to 9"
    torch.manual_seed(0)
    spread = math.sqrt(2 * 0.01 * 0.05 / math.sqrt(5) - 1e-4)
    assert w.item() == pytest.approx(1 - 0.01 * 3 / math.sqrt(5) + spread * torch.randn(1).item(), abs=1e-6)
    chain.param_groups[0]["adapting"] = False
    chain.step()
    assert [state[name].item() for name in ("tau", "g", "v")] == [1.0, 2.0, 5.0]


def test_the_potential_is_that_of_the_posterior() -> None:
    """Sum over all examples of a model, not the mean of a batch; and each weight's own prior."""
    method = build(prior="normal")
    x = torch.stack([images()[:20], images()[20:]])
    out = method.network["decoder"](method.network["encoder"](x))
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(out, x, reduction="none").sum(2)
    weights = torch.cat([w.flatten() for w in method.network.parameters()])
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(weights).sum()
    wanted = -(log_p[0].sum() + 2 * log_p[1].sum()) - log_prior
    assert method.loss({"x": x})["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)
    with torch.no_grad():
        method.prior.mean_encoder_0_weight.fill_(0.3)
        method.prior.rho_encoder_0_weight.fill_(-2.0)
    w = method.network["encoder"][0].weight
    change = torch.distributions.Normal(0.3, math.exp(-1)).log_prob(w).sum() - torch.distributions.Normal(0.0, 1.0).log_prob(w).sum()
    assert method.loss({"x": x})["loss"].item() == pytest.approx((wanted - change).item(), rel=1e-5)


def test_weights_that_no_image_speaks_of_keep_the_law_of_the_prior() -> None:
    """Those of a pixel that is always 0: the chain begins with a draw of N(0, 1), or of a matched prior, and leaves it as it is."""
    method = build(prior="normal", hidden=[400], lr=0.03)
    with torch.no_grad():
        method.prior.mean_encoder_0_weight.fill_(0.3)
        method.prior.rho_encoder_0_weight.fill_(-2.0)
    method.prior.draw(method.network)
    x = images(40).expand(2, -1, -1) * (torch.arange(6) > 0)
    chain = method.make_optimizer(method.parameter_groups())
    for step in range(900):
        if step in (0, 899):
            free = (method.network["encoder"][0].weight.detach()[:, 0] - 0.3) / math.exp(-1)
            assert free.mean().item() == pytest.approx(0, abs=0.12) and free.var().item() == pytest.approx(1, abs=0.2)
        chain.param_groups[0]["adapting"] = step < 300
        chain.zero_grad()
        method.loss({"x": x})["loss"].backward()
        chain.step()


def kept(method: BAEPrior) -> BAEPrior:
    """With three different posterior samples."""
    for s in range(3):
        for name, w in method.network.named_parameters():
            getattr(method, f"kept_{name.replace('.', '_')}")[s] = w.detach() + s
    method.taken += 3
    return method


def test_predictions_average_likelihoods() -> None:
    method, x = kept(build()), images(7)
    found, total = method.log_likelihoods(x), 0.0
    for s in range(3):
        one = build()
        with torch.no_grad():
            for w in one.network.parameters():
                w.add_(s)
        out = one.network["decoder"](one.network["encoder"](x.expand(2, -1, -1)))
        total = total + torch.exp((x * out.sigmoid().log() + (1 - x) * (-out).sigmoid().log()).sum(2)) / 3
    torch.testing.assert_close(found, total.log())
    assert found.shape == (2, 7)


def test_before_the_first_sample_there_is_no_prediction_and_no_choice() -> None:
    method, task = build(), SimpleNamespace(device="cpu")
    assert method.log_likelihoods(images(7)).isnan().all() and method.draw(9).isnan().all()
    data = Data(SPEC, valid={"x": images(7)})
    assert MNISTSmall.validate(task, method, data) == {}
    found = MNISTSmall.validate(task, kept(method), data)
    assert found["recon_nll/mean"] == pytest.approx(-method.log_likelihoods(images(7)).mean().item())


def test_samples_are_taken_at_equal_distances_after_the_burn_in() -> None:
    method = build()
    method.__dict__["_trainer"] = SimpleNamespace(num_training_batches=6, max_epochs=2, current_epoch=0)
    taken = []
    for epoch in range(2):
        method._trainer.current_epoch = epoch
        for i in range(6):
            with torch.no_grad():
                method.network["encoder"][0].bias.fill_(6 * epoch + i)
            method.after_step({}, i)
            taken.append(int(method.taken))
    assert taken == [0] * 7 + [1, 1, 2, 2, 3]
    assert method.kept_encoder_0_bias[:, 0, 0, 0].tolist() == [7, 9, 11]


def test_codes_are_paired_with_their_weights() -> None:
    """Samples decode the codes of a mixture with the weights whose codes it was fitted to."""
    method = kept(build())
    with torch.no_grad():
        method.mixtures.factors.mul_(1e-6)
        for g in range(2):
            for s in range(3):
                method.mixtures.means[3 * g + s] = g + 0.1 * s
        found = method.draw(9)
        for s in range(3):
            z = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 3, 2) + 0.1 * s
            torch.testing.assert_close(found[:, 3 * s : 3 * s + 3], method._call("decoder", z, s).sigmoid(), atol=1e-4, rtol=0)


# --- priors ------------------------------------------------------------------------------------------


def test_the_sliced_distance_of_a_shift_along_known_directions() -> None:
    x, shift = torch.randn(50, 3), torch.tensor([1.0, -2.0, 0.5])
    assert sliced(x + shift, x, torch.eye(3)).item() == pytest.approx((1 + 4 + 0.25) / 3, rel=1e-5)
    assert sliced(x[torch.randperm(50)], x, torch.eye(3)).item() == pytest.approx(0, abs=1e-12)


def test_directions_turn_to_where_the_difference_is() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    y = x + torch.tensor([0.0, 0.0, 3.0])
    plain, turned = (DSWD(3, 200, inner, lr=0.05, penalty=0.0)(x, y).item() for inner in (0, 60))
    assert plain < 2.4 and 2.9 < turned <= 3.001, "from the mean over directions to nearly the largest"
    spread = DSWD(3, 200, 60, lr=0.05, penalty=100.0)
    spread(x, y)
    along = spread.directions().detach()
    assert (along @ along.T).abs().mean() < 0.6


def test_the_matched_prior_is_fitted_to_the_images_and_has_a_spread() -> None:
    method, x = build(draws=8, prior_reach=1.5), images(30)
    torch.manual_seed(0)
    mean, rho = matched_prior(method.make_network, 0.1 * x, 150, method.config)
    method.prior.take(mean, rho)
    assert mean.keys() == dict(method.network.named_parameters()).keys()
    for name, w in method.network.named_parameters():
        assert torch.equal(method.prior.of(name)[0], mean[name]) and torch.equal(method.prior.of(name)[1], rho[name])
        with torch.no_grad():
            w.copy_(mean[name].expand_as(w))
    out = method.network["decoder"](method.network["encoder"](x.expand(2, -1, -1))).sigmoid()
    assert (out.mean((0, 1)) - 0.05).abs().max() < 0.05, "the mean's outputs are near the images"
    assert all((of != -6).any() for of in rho.values()), "encoders too: what goes in are images, not noise in the place of codes"
    log_variance = torch.cat([of.flatten() for of in rho.values()])
    assert log_variance.std() > 0 and (log_variance.mean() + 6).abs() < 3
    assert method.loss({"x": x.expand(2, -1, -1)})["prior_sd"].item() == pytest.approx((0.5 * log_variance).exp().mean().item(), rel=1e-5)
    method.prior.draw(method.network)
    first, second = method.network["decoder"][0].weight
    assert not torch.equal(first, second) and (first - second).std() < 0.2, "draws of a narrow prior, one for each chain"


# --- mixtures of codes ----------------------------------------------------------------------------------


def test_mixtures_are_scikit_learns() -> None:
    codes = torch.cat([torch.randn(100, 2) - 4, 0.5 * torch.randn(100, 2) + 4])
    mixtures = CodeMixtures(2, 5, 2)
    mixtures.fit(1, codes)
    wanted = BayesianGaussianMixture(n_components=5, weight_concentration_prior=0.2, random_state=0, tol=1e-2).fit(codes.double().numpy())
    np.testing.assert_allclose(mixtures.weights[1], wanted.weights_, rtol=1e-5)
    np.testing.assert_allclose(mixtures.factors[1] @ mixtures.factors[1].mT, wanted.covariances_, rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    drawn = mixtures.sample(1, 20_000)
    assert (drawn[:, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), rtol=0.1, atol=0.3)
    torch.testing.assert_close(torch.cov(mixtures.sample(0, 20_000).T), torch.eye(2), rtol=0, atol=0.05)
    mixtures.fit(0, codes[:3])
    assert mixtures.weights[0, 3:].sum() == 0, "no more components than codes"


# --- baselines -------------------------------------------------------------------------------------------


def test_without_noise_the_loss_is_the_likelihood() -> None:
    method, x = build(FewAutoencoders, noise=False), images(7)
    out = method.loss({"x": x.expand(2, -1, -1)})
    assert out["loss"].item() == pytest.approx(-method.log_likelihoods(x).mean(1).sum().item(), rel=1e-5) and out["kl"] == 0


def test_the_bound_of_the_noisy_one_is_the_vaes() -> None:
    method, x = build(FewAutoencoders), images(7).expand(2, -1, -1)
    mean, logvar = method.encoder(x).chunk(2, dim=-1)
    torch.manual_seed(3)
    found = method.loss({"x": x})
    torch.manual_seed(3)
    q = torch.distributions.Normal(mean, torch.exp(0.5 * logvar))
    z = mean + torch.randn_like(mean) * q.scale
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(method.decoder(z), x, reduction="none").sum(2)
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(2)
    assert found["loss"].item() == pytest.approx((kl - log_p).mean(1).sum().item(), rel=1e-5)


class Untrained:
    config = {"trainer": {"devices": "1"}, "train": {"epochs": 60}}
    task, seed = SimpleNamespace(batches=lambda *words: [1]), 0

    def run(self, method: Any) -> None:
        if isinstance(method, BAEPrior):
            kept(method)


@pytest.mark.parametrize("of", [BAEPrior, FewAutoencoders])
def test_the_density_of_codes_is_fitted_once_trained_and_kept(of: Any) -> None:
    options = {} if of is BAEPrior else {"noise": False}
    method = build(of, **options)
    method.fit(Data(SPEC, {"x": images()}, shared={"prior": images(10, 2)}), Untrained())
    assert all((weights - weights[0]).abs().max() > 0 for weights in method.mixtures.weights[:2])
    again = build(of, **options)
    again.load_state_dict(method.state_dict())
    drawn = []
    for one in (method, again):
        torch.manual_seed(4)
        drawn.append(one.draw(6).detach())
    assert torch.equal(*drawn) and drawn[0].shape == (2, 6, 6) and ((drawn[0] > 0) & (drawn[0] < 1)).all()


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="matched"):
        build(prior="mached")
    assert batched_mlp(2, [3, 2])(torch.ones(2, 1, 3)).shape == (2, 1, 2)


# --- the task -----------------------------------------------------------------------------------------------


def small() -> MNISTSmall:
    c = MNISTSmall.Config(sizes=[20, 50], n_prior=20, n_valid=40, n_test=60, n_real=200, samples=200)
    return MNISTSmall(c, "smoke", 0)


class Copies:
    """Reconstructs perfectly with the second model, and with the first says 1/2 of each pixel; draws true images, or grey ones."""

    def __init__(self, real: torch.Tensor):
        self.real = real

    def log_likelihoods(self, x: torch.Tensor) -> torch.Tensor:
        entropy = torch.nn.functional.binary_cross_entropy(x, x, reduction="none").sum(1)
        return -torch.stack([torch.full((len(x),), 196 * math.log(2)), entropy])

    def draw(self, n: int) -> torch.Tensor:
        return torch.stack([torch.full((n, 196), 0.5), self.real[:n]])


def test_known_models_score_as_such() -> None:
    task = small()
    data = task.load_train()
    test = task.load_test(data)
    found = scored(MNISTSmall, task.observe(Copies(test["real"]), data, test, [])).metrics
    assert found["recon_nll/n20"] == pytest.approx(196 * math.log(2), rel=1e-5) and found["recon_nll_growth"] > 20
    assert found["recon_nll_growth"] == pytest.approx(found["recon_nll/n20"] - found["recon_nll/n50"])
    assert found["fd_growth[pca-32,n=200]"] == pytest.approx(found["fd[pca-32,n=200]/n20"] - found["fd[pca-32,n=200]/n50"])
    assert found["recon_nll/few"] == found["recon_nll/mean"], "both sizes are below 200"
    observed = {"log_likelihood": np.array([[-5.0, -3.0, -1.0]]), "fd": np.array([7.0, 4.0, 2.0]), "samples": np.array(9)}
    few = MNISTSmall.measure(observed | {"sizes": np.array([50, 200, 500])}, None)
    assert (few["recon_nll/few"], few["recon_nll/mean"], few["fd[pca-32,n=9]/few"], few["fd_growth[pca-32,n=9]"]) == (4, 3, 5.5, 5)
    assert found["fd[pca-32,n=200]/n50"] == pytest.approx(0, abs=1e-3) and found["fd[pca-32,n=200]/n20"] > 5


def test_small_training_sets_are_parts_of_larger_ones() -> None:
    task = small()
    data = task.load_train()
    batch = task.batches(data, {"batch_size": 500}, 0).make(0, 0, torch.Generator().manual_seed(0))["x"]
    for n, x in zip((20, 50), batch, strict=True):
        assert (torch.cdist(x, data.train["x"]).argmin(1)).unique().tolist() == list(range(n))
    assert torch.cdist(data.shared["prior"], data.train["x"]).min() > 0.1, "zeros are no training images"
