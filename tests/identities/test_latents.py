"""Identities of models of discrete latents: gradients, laws and posteriors that are known by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.compositional import CompositionalSpec
from elboard.bench.task import Data
from elboard.methods.latent.exact_em import ExactEM
from elboard.methods.latent.gflownet_em import GFlowNetEM, trajectory_balance
from elboard.methods.latent.mean_field_em import MeanFieldEM, coordinates, product
from elboard.methods.latent.models import codes, numbers, one_hots
from elboard.methods.latent.monte_carlo_em import MonteCarloEM, swept
from elboard.methods.latent.policies import Factorised, Sequential
from elboard.methods.latent.vq_codes import VQCodes

IDENTITIES = {
    "exact-em": ("test_the_step_of_exact_em_is_the_gradient_of_the_likelihood",),
    "mean-field-em": (
        "test_the_bound_of_mean_field_is_tight_where_the_posterior_is_a_product",
        "test_coordinate_ascent_never_lowers_the_bound",
        "test_the_encoder_follows_the_gradient_of_the_divergence",
    ),
    "monte-carlo-em": ("test_a_sweep_of_gibbs_steps_leaves_the_posterior_as_it_is", "test_many_sweeps_end_at_the_posterior"),
    "gflownet-em": (
        "test_a_policy_that_is_the_posterior_balances",
        "test_the_policy_learns_the_posterior",
        "test_with_a_policy_that_is_exact_the_step_is_that_of_exact_em",
        "test_no_gradient_passes_latents_or_rewards",
    ),
    "vq-codes": ("test_the_prior_of_codes_is_counted", "test_codes_are_the_nearest_entries"),
}
SPEC = CompositionalSpec((2,), 50, likelihood="gaussian", choices=(2, 3), noise=0.5, spread=0.7)
BITS = CompositionalSpec((6,), 50, likelihood="bernoulli", choices=(2, 3, 2))
X = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
B = torch.randint(2, (5, 6), generator=torch.Generator().manual_seed(2)).float()
GIVEN = ((SPEC, X), (BITS, B))


def build(cls: type, spec: CompositionalSpec = SPEC, seed: int = 0, **options: object) -> ExactEM:
    torch.manual_seed(seed)
    return cls(cls.Config(width=16, **options), spec)


def roughen(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))


def gradient(loss: Tensor, module: torch.nn.Module) -> Tensor:
    parameters = [p for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found, strict=True)])


def test_latents_are_numbered_with_the_last_part_fastest() -> None:
    z = codes((2, 3, 2))
    assert z.tolist() == [list(of) for of in itertools.product(range(2), range(3), range(2))]
    assert torch.equal(numbers(z, (2, 3, 2)), torch.arange(12))
    assert torch.equal(one_hots((2, 3)).sum(1), torch.full((6,), 2.0))


def test_joints_are_those_of_the_law() -> None:
    """Of Gaussians by the density of each, of bits by masses that sum to one over all images and latents."""
    mixture = build(ExactEM)
    z = codes(SPEC.choices)
    mean = mixture.model.offsets[z[:, 0]] + mixture.model.offsets[2 + z[:, 1]]
    law = torch.distributions.Normal(mean, 0.5)
    torch.testing.assert_close(mixture.log_joints(X), law.log_prob(X[:, None]).sum(2) - math.log(6))
    tokens = build(ExactEM, BITS)
    roughen(tokens.model)
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)))
    assert tokens.log_joints(images).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("spec", "x"), GIVEN)
def test_the_step_of_exact_em_is_the_gradient_of_the_likelihood(spec: CompositionalSpec, x: Tensor) -> None:
    method = build(ExactEM, spec)
    roughen(method.model)
    nll = -method.log_joints(x).logsumexp(1).mean()
    torch.testing.assert_close(gradient(method.loss({"x": x})["loss"], method.model), gradient(nll, method.model), rtol=1e-4, atol=1e-6)


def elbo(q: Tensor, joints: Tensor) -> Tensor:
    return (q * joints - torch.xlogy(q, q)).sum(1)


def test_the_bound_of_mean_field_is_tight_where_the_posterior_is_a_product() -> None:
    """Of a joint that is a sum over parts one sweep is enough, and the bound is the evidence; of others it lies below."""
    parts = [torch.randn(4, k, generator=torch.Generator().manual_seed(k)) for k in (2, 3, 4)]
    joints = (parts[0][:, :, None, None] + parts[1][:, None, :, None] + parts[2][:, None, None]).flatten(1)
    q = coordinates(joints, (2, 3, 4), 1)
    torch.testing.assert_close(q, joints.softmax(1))
    torch.testing.assert_close(elbo(q, joints), joints.logsumexp(1))
    torch.testing.assert_close(q, product([of.softmax(1) for of in parts]))
    tied = torch.tensor([[0.0, -30.0, -30.0, 0.0]])
    assert elbo(coordinates(tied, (2, 2), 20), tied).item() < tied.logsumexp(1).item() - 0.5


def test_coordinate_ascent_never_lowers_the_bound() -> None:
    joints = 3 * torch.randn(6, 24, generator=torch.Generator().manual_seed(3))
    bounds = torch.stack([elbo(coordinates(joints, (2, 3, 4), sweeps), joints) for sweeps in (1, 2, 3, 5, 10)])
    assert (bounds.diff(dim=0) >= -1e-5).all() and (bounds <= joints.logsumexp(1) + 1e-5).all()
    assert (bounds[-1] > bounds[0] + 1e-3).any()


def test_the_encoder_follows_the_gradient_of_the_divergence() -> None:
    """The bound is log p(x) - KL(q || p(z|x)), and log p(x) does not know the encoder."""
    method = build(MeanFieldEM, estep="encoder")
    roughen(method.encoder)
    loss = method.loss({"x": X})["loss"]
    q, log_p = method.encoder.log_probs(X).exp(), method.log_joints(X).log_softmax(1)
    kl = (torch.xlogy(q, q) - q * log_p).sum(1).mean()
    torch.testing.assert_close(gradient(loss, method.encoder), gradient(kl, method.encoder), rtol=1e-4, atol=1e-6)
    assert method.posterior(X).sum(1).tolist() == pytest.approx([1] * 5, abs=1e-5)


def test_a_sweep_of_gibbs_steps_leaves_the_posterior_as_it_is() -> None:
    joints = 2 * torch.randn(6, 24, generator=torch.Generator().manual_seed(3))
    p = joints.softmax(1)
    torch.testing.assert_close(swept(p, joints, (2, 3, 4)), p)
    assert (swept(torch.full_like(p, 1 / 24), joints, (2, 3, 4)) - p).abs().sum(1).min() > 0.05


def test_many_sweeps_end_at_the_posterior() -> None:
    method = build(MonteCarloEM, sweeps=200)
    torch.testing.assert_close(method.posterior(X), method.log_joints(X).softmax(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("spec", "x"), GIVEN)
def test_the_policy_is_a_law_of_all_latents(spec: CompositionalSpec, x: Tensor) -> None:
    """Probabilities sum to one, and draws have those that their steps say, whatever explores."""
    method = build(GFlowNetEM, spec)
    roughen(method.policy)
    log_probs = method.policy.log_probs(x)
    torch.testing.assert_close(log_probs.logsumexp(1), torch.zeros(5), rtol=0, atol=1e-5)
    for explore in (0.0, 0.5):
        z, log_q = method.policy.draw(x, explore)
        torch.testing.assert_close(log_q, log_probs.gather(1, numbers(z, spec.choices)[:, None])[:, 0])
    many, _ = method.policy.draw(x[:1].expand(20_000, -1))
    counted = torch.bincount(numbers(many, spec.choices), minlength=log_probs.shape[1]) / 20_000
    assert (counted - log_probs[0].exp()).abs().max() < 0.02  # four standard errors of a half
    factorised = Factorised(*spec.shape, spec.choices, 16)
    roughen(factorised)
    torch.testing.assert_close(factorised.log_probs(x), product([of.exp() for of in factorised.parts(x)]).log())


def exact(method: GFlowNetEM, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the posterior in the place of the policy, and log p(x) in that of log Z."""
    joints = method.log_joints(x).detach()

    def draw(given: Tensor, explore: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        at = torch.multinomial(joints.softmax(1), 1)
        return codes(method.spec.choices)[at[:, 0]], joints.log_softmax(1).gather(1, at)[:, 0].requires_grad_()

    monkeypatch.setattr(method.policy, "draw", draw)
    monkeypatch.setattr(method.normaliser, "forward", lambda given: joints.logsumexp(1, keepdim=True))


@pytest.mark.parametrize(("spec", "x"), GIVEN)
def test_a_policy_that_is_the_posterior_balances(spec: CompositionalSpec, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(GFlowNetEM, spec, sleep=0.0)
    roughen(method.model)
    exact(method, x, monkeypatch)
    assert method.loss({"x": x})["balance"].item() == pytest.approx(0, abs=1e-8)


def test_with_a_policy_that_is_exact_the_step_is_that_of_exact_em(monkeypatch: pytest.MonkeyPatch) -> None:
    """In expectation: within four standard errors over draws of 4,000 copies of each point."""
    method, n = build(GFlowNetEM, sleep=0.0), 4000
    many = X.repeat(n, 1)
    exact(method, many, monkeypatch)
    method.moving.zero_()
    found = gradient(method.loss({"x": many})["loss"], method.model)
    reference = gradient(-method.log_joints(X).logsumexp(1).mean(), method.model)
    joints = method.log_joints(X)
    p = joints.detach().softmax(1)
    single = torch.stack([gradient(-joints[i, s], method.model) for i in range(5) for s in range(6)]).view(5, 6, -1)
    mean = (p[:, :, None] * single).sum(1, keepdim=True)
    variance = (p[:, :, None] * (single - mean).square()).sum(1)
    assert ((found - reference).abs() <= 4 * (variance.mean(0) / (5 * n)).sqrt() + 1e-6).all()
    assert reference.abs().max() > 0.05


def test_the_policy_learns_the_posterior() -> None:
    """With the model held, trajectory balance leads to p(z|x) and to log p(x), although a third of the trajectories explored."""
    method = build(GFlowNetEM, sleep=0.0, explore=0.3, threshold=1e-9)
    method.model.noise = 0.9
    first = 0.5 * (method.posterior(X) - method.log_joints(X).softmax(1)).abs().sum(1).max()
    groups = method.parameter_groups()[1:]
    optimizer = torch.optim.Adam(groups)
    for step in range(250):
        for group in groups:
            group["lr"] = 1e-2 * (1 - step / 250)
        optimizer.zero_grad()
        method.loss({"x": X.repeat(10, 1)})["loss"].backward()
        optimizer.step()
    last = 0.5 * (method.posterior(X) - method.log_joints(X).softmax(1)).abs().sum(1).max()
    assert first > 0.3 and last < 0.05, (first, last)
    torch.testing.assert_close(method.normaliser(X)[:, 0], method.log_joints(X).logsumexp(1), rtol=0, atol=0.5)


def test_no_gradient_passes_latents_or_rewards() -> None:
    """L_TB reaches policy and log Z alone; the M-step, while it is taken, the model alone."""
    method = build(GFlowNetEM, sleep=0.0)
    roughen(method.policy)
    closed = method.loss({"x": X})
    assert closed["m_steps"] == 0 and gradient(closed["loss"], method.model).abs().sum() == 0
    assert all(gradient(closed["loss"], part).abs().sum() > 0 for part in (method.policy, method.normaliser))
    method.moving.fill_(0.5)
    method.config.balance = 0.0
    opened = method.loss({"x": X})
    assert opened["m_steps"] == 1 and gradient(opened["loss"], method.model).abs().sum() > 0
    assert gradient(opened["loss"], method.policy).abs().sum() == 0


def test_a_sleep_phase_teaches_the_policy_what_the_model_dreams() -> None:
    """-log P_F is least for the posterior: of draws of the model it lies above the entropy of p(z|x) by the divergence."""
    method = build(GFlowNetEM, sleep=1.0, balance=0.0, sleep_weight=2.0)
    torch.manual_seed(3)
    z = torch.multinomial(method.model.log_prior().exp(), 4000, replacement=True)
    x = method.model.draw(z)
    torch.manual_seed(3)
    expected = -method.policy.log_probs(x).gather(1, z[:, None]).mean()
    torch.testing.assert_close(method.dreamt(4000).mean(), expected)
    method.moving.fill_(0.5)
    roughen(method.policy)
    assert gradient(method.loss({"x": X})["loss"], method.policy).abs().sum() > 0
    assert gradient(method.dreamt(10).mean(), method.model).abs().sum() == 0


def test_more_paths_need_the_backward_policy() -> None:
    """Two ways lead to one end and one to the other: without log P_B what balances draws the first twice too often."""
    reward = torch.tensor([1.0, 1.0, 1.0])  # of the end of each of three trajectories: a by two ways, b by one
    backward = torch.tensor([0.5, 0.5, 1.0])
    forward = reward * backward / (reward * backward).sum()
    assert trajectory_balance(torch.tensor(2.0).log(), forward.log(), reward.log(), backward.log()).max() < 1e-12
    biased = reward / reward.sum()
    assert trajectory_balance(torch.tensor(3.0).log(), biased.log(), reward.log()).max() < 1e-12
    assert biased[:2].sum().item() == pytest.approx(2 / 3) and forward[:2].sum().item() == pytest.approx(1 / 2)


def test_a_reward_over_the_number_of_steps_tempers_the_posterior() -> None:
    log_r = torch.tensor([0.0, 1.0, 3.0])
    tempered = (log_r / 2).log_softmax(0)
    log_z = (log_r / 2).logsumexp(0)
    assert trajectory_balance(log_z, tempered, log_r / 2).max() < 1e-10
    assert trajectory_balance(log_r.logsumexp(0) / 2, log_r.log_softmax(0) / 2, log_r / 2).max() < 1e-10  # both sides divided


def test_the_moving_average_opens_and_closes_the_steps_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(GFlowNetEM, sleep=0.0, decay=0.5)
    monkeypatch.setattr(method, "loss", lambda batch: {"loss": next(values).requires_grad_(), "balance": torch.tensor(3.0)})
    values = iter([torch.tensor(1.0)] * 3)
    method.training_step({"x": X}, 0)
    assert method.moving == 3
    method.moving.fill_(1.0)
    method.training_step({"x": X}, 0)
    assert method.moving == 2


def test_methods_start_alike() -> None:
    for spec in (SPEC, BITS):
        models = [build(cls, spec).model for cls in (ExactEM, MonteCarloEM, MeanFieldEM, GFlowNetEM)]
        models += [build(MeanFieldEM, spec, estep="encoder").model] + ([build(VQCodes, spec).model] if spec is BITS else [])
        for name, value in models[0].state_dict().items():
            assert all(torch.equal(value, of.state_dict()[name]) for of in models)
    method = build(ExactEM)
    before = method.model.offsets.clone()
    method.prepare(Data(SPEC, {"x": X}, shared={"start": torch.ones(5, 2)}))
    assert torch.equal(method.model.offsets, before + 1)


def test_codes_are_the_nearest_entries() -> None:
    method = build(VQCodes, BITS)
    e, z = method.encoded(B)
    for part, k in enumerate(BITS.choices):
        assert torch.equal(torch.cdist(e[:, part], method.model.embeddings[part, :k]).argmin(1), z[:, part])
    q = method.posterior(B)
    assert torch.equal(q.sum(1), torch.ones(5)) and torch.equal(q.argmax(1), numbers(z, BITS.choices))


def test_the_prior_of_codes_is_counted() -> None:
    method = build(VQCodes, BITS)
    method.prepare(Data(BITS, {"x": B}))
    method.before_validation()
    counts = method.posterior(B).sum(0)
    torch.testing.assert_close(method.model.log_prior().exp(), (counts + 1) / (5 + 12))
    assert method.model.log_prior().exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_the_decoder_gets_the_entries_and_the_encoder_their_gradient() -> None:
    """The loss is that of the nearest entries; without the two other terms the encoder's gradient is the one at these."""
    method = build(VQCodes, BITS, commitment=0.0)
    e, z = method.encoded(B)
    nll = -method.model.log_likelihoods(B).gather(1, numbers(z, BITS.choices)[:, None]).mean()
    assert method.loss({"x": B})["distortion"].item() == pytest.approx(nll.item(), rel=1e-5)
    at = method.model.embedded(z).detach().requires_grad_()
    logits = method.model.decoder(at.flatten(1))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, B, reduction="none").sum(1).mean()
    (slope,) = torch.autograd.grad(loss, at)
    expected = gradient((e * slope).sum(), method.encoder)
    torch.testing.assert_close(gradient(method.loss({"x": B})["loss"], method.encoder), expected, rtol=1e-4, atol=1e-6)


def test_a_step_of_the_policy_sees_the_parts_before_it_alone() -> None:
    policy = Sequential(2, (2, 3), 8)
    assert [step[0].in_features for step in policy.steps] == [2, 4]
