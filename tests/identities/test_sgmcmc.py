"""What must hold exactly of samplers by stochastic gradients: energies, groups, laws of chains; and of the posteriors they are tried on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal

from elboard.bench import stopping
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.posterior import MarkovChain, PosteriorSampler, TargetSpec
from elboard.bench.metrics.chains import integrated_autocorrelation
from elboard.bench.registry import find
from elboard.bench.run import execute, load_trained
from elboard.bench.task import Data
from elboard.methods.bayesian.s_sgmcmc import StructuredSGMCMC
from elboard.methods.bayesian.sghmc import SGHMCSampler
from elboard.methods.bayesian.sgld import SGLDSampler
from elboard.methods.parts.sgld import SGLD
from elboard.sweeps.work import run_one
from elboard.tasks.posterior.banana import Banana
from elboard.tasks.posterior.gaussian import COVARIANCE, PRECISION, Gaussian

IDENTITIES = {
    "sgld": ("test_the_energy_is_that_of_the_posterior", "test_langevin_dynamics_have_the_law_of_their_target"),
    "sghmc": ("test_the_energy_is_that_of_the_posterior", "test_plain_chains_find_the_posterior"),
    "s-sgmcmc": (
        "test_one_group_is_the_joint_energy",
        "test_gradients_are_those_of_each_group_with_the_others_from_the_past",
        "test_structured_chains_find_the_mean_field_optimum",
        "test_the_dropout_energy_has_the_right_gradient_where_a_group_moves",
    ),
}
SPEC = ClassSpec((1, 2, 2), 30, n_classes=3)
SMALL = {"hidden": [4], "kept": 6, "prior_sd": 1.0}


def build(of: Any = StructuredSGMCMC, spec: Any = SPEC, **options: Any) -> Any:
    torch.manual_seed(0)
    made = of(of.Config(**SMALL | options), spec).double()
    made.prepare(Data(spec, oracle=Gaussian if isinstance(spec, TargetSpec) else None))
    return made


def remembering(**options: Any) -> Any:
    """One with a full memory of noise."""
    made = build(**options)
    made.ring.normal_()
    made.written.fill_(6)
    return made


def batch(n: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"x": torch.rand(n, 1, 2, 2, generator=generator, dtype=torch.float64), "y": torch.arange(n) % 3}


def gradient(made: Any, of: torch.Tensor) -> torch.Tensor:
    made.zero_grad()
    of.backward()
    return torch.cat([w.grad.flatten() for w in made.network.parameters()])


@pytest.mark.parametrize("of", [SGLDSampler, SGHMCSampler])
def test_the_energy_is_that_of_the_posterior(of: Any) -> None:
    made, seen = build(of, prior_sd=0.7), batch()
    log_prior = sum(
        torch.distributions.Normal(0, 0.7).log_prob(w).sum() - w.numel() * np.log(1 / 0.7 / np.sqrt(2 * np.pi)) for w in made.parameters()
    )
    expected = 30 * F.cross_entropy(made.network(seen["x"]), seen["y"]) - log_prior
    torch.testing.assert_close(made.loss(seen)["loss"], expected)


def test_one_group_is_the_joint_energy() -> None:
    one, plain = remembering(groups="one"), build(SGLDSampler)
    torch.testing.assert_close(one.loss(batch())["loss"], plain.loss(batch())["loss"])


def test_gradients_are_those_of_each_group_with_the_others_from_the_past() -> None:
    """Nothing flows to the past, and each group has the gradient of the posterior in which the rest of the network is of the past."""
    made, seen = remembering(), batch()
    torch.manual_seed(3)
    found = gradient(made, made.loss(seen)["loss"])
    torch.manual_seed(3)
    past, theta = made.recombined((1, 2))[0], made.vector()[0].detach()
    for group in range(2):
        mine = made.group_of == group
        alone = torch.where(mine, theta, past[group]).requires_grad_()
        energy = 30 * F.cross_entropy(made.logits(alone[None], seen["x"])[0], seen["y"]) + 0.5 * alone.square().sum()
        (expected,) = torch.autograd.grad(energy, alone)
        torch.testing.assert_close(found[mine], expected[mine])
    assert made.ring.grad is None


def test_the_dropout_energy_has_the_right_gradient_where_a_group_moves() -> None:
    """With all rows of the memory equal to the weights every composite is the network, and the mean over masks, given that one selects the
    group, is the gradient of the joint energy: at rho 0.4 and two masks, exactly by all sixteen of them."""
    made, seen, plain = remembering(live=0.4, masks=2), batch(), build(SGLDSampler)
    plain.load_state_dict(made.state_dict())
    made.ring[:] = made.vector().detach()
    expected, total, weight = gradient(plain, plain.loss(seen)["loss"]), 0.0, 0.0
    for bits in range(16):
        made.masks = torch.tensor([[bits >> (2 * k + i) & 1 for i in range(2)] for k in range(2)], dtype=torch.bool)
        share = 0.4 ** int(made.masks.sum()) * 0.6 ** (4 - int(made.masks.sum()))
        moves = made.masks.any(0)[made.group_of]
        total = total + share * torch.where(moves, gradient(made, made.loss(seen)["loss"]), 0.0)
        weight = weight + share * moves
    torch.testing.assert_close(total / weight, expected)


def test_groups_that_no_mask_selects_rest() -> None:
    made = remembering(live=0.5)
    made.masks = torch.tensor([[True, False], [True, False]])
    before = made.vector().detach().clone()
    made._before = [w.detach().clone() for w in made.parameters()]
    with torch.no_grad():
        for w in made.parameters():
            w += 1
        made._put_back()
    torch.testing.assert_close(made.vector().detach() - before, (made.group_of == 0).double()[None])


def test_groups() -> None:
    of_layers = build(groups="layer").group_of
    assert of_layers.tolist() == [0] * 20 + [1] * 15  # 4 x 4 weights and 4 biases, 3 x 4 and 3
    of_neurons = build(groups="neuron").group_of
    assert of_neurons.tolist() == [i for i in range(4) for _ in range(4)] + [0, 1, 2, 3] + [4 + i for i in range(3) for _ in range(4)] + [
        4,
        5,
        6,
    ]
    counts = torch.bincount(build(groups="random", n_groups=8).group_of)
    assert counts.tolist() == [5, 5, 5, 4, 4, 4, 4, 4]
    assert build(groups="weight").m == 35


def test_draws_recombine_groups_of_the_past() -> None:
    """With row r of the memory all r, a draw has one row for each group, and over many draws rows of two groups are independent."""
    made = remembering()
    made.ring[:] = torch.arange(6.0)[:, None, None]
    drawn = made.draw(6000)
    first, second = drawn[:, :20], drawn[:, 20:]
    assert (first == first[:, :1]).all() and (second == second[:, :1]).all()
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.05
    whole = remembering(groups="one")
    whole.ring[:] = torch.arange(6.0)[:, None, None]
    drawn = whole.draw(50)
    assert (drawn == drawn[:, :1]).all() and len(drawn.unique()) == 6


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match="sghmc"):
        build(live=0.5, optimizer="sghmc")
    with pytest.raises(UserError, match="weight_decay=0.1 is not"):
        resolve("posterior/digits", "sgld", budget="smoke", overrides={"weight_decay": 0.1})
    with pytest.raises(UserError, match="passes"):
        StructuredSGMCMC(StructuredSGMCMC.Config(hidden=[50], groups="weight"), SPEC)


# --- laws of chains -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preconditioned", [False, True])
def test_langevin_dynamics_have_the_law_of_their_target(preconditioned: bool) -> None:
    """4,000 chains of N(2, 0.5^2), whose variance would be half of it with the noise of the released code."""
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.zeros(4000))
    chain = SGLD([w], lr=0.01, preconditioned=preconditioned)
    for _ in range(400):
        w.grad = (w.detach() - 2) / 0.25
        chain.step()
    assert w.mean().item() == pytest.approx(2, abs=0.03) and w.var().item() == pytest.approx(0.25, rel=0.25 if preconditioned else 0.1)


def test_processes_that_train_together_have_one_chain(tmp_path: Path) -> None:
    """With noise of its own in each, what they differ by would be a random walk: after 180 steps of 0.1 a variance of 9."""
    options = {"lr": 0.1, "task.steps": 100, "trainer.devices": "2", "trainer.strategy": "ddp", "trainer.accelerator": "cpu"}
    outcome = run_one(resolve("posterior/gaussian", "sgld", budget="smoke", overrides=options), tmp_path)
    assert outcome.state == "done" and outcome.record.metrics["marginal_ratio"] < 2, outcome.message


def run(of: Any, steps: int, **options: Any) -> Any:
    """``of`` on the Gaussian of the task, moved as in training."""
    made = build(of, TargetSpec((2,), 1), **{"chains": 200, "kept": 100} | options)
    move(made, steps)
    return made


def move(made: Any, steps: int) -> list[torch.Tensor]:
    """Its positions after each step."""
    found: list[torch.Tensor] = []
    optimizer = made.make_optimizer(made.parameter_groups())
    made.__dict__["optimizers"] = lambda use_pl_optimizer=True: optimizer
    made._trainer = SimpleNamespace(num_training_batches=steps, max_epochs=1, current_epoch=0)
    for i in range(steps):
        made.on_train_batch_start({}, i)
        optimizer.zero_grad()
        made.loss({})["loss"].backward()
        optimizer.step()
        made.after_step({}, i)
        found.append(made.position.detach().clone())
    return found


@pytest.mark.parametrize(("of", "options"), [(SGLDSampler, {"lr": 0.05}), (SGHMCSampler, {"lr": 0.05})])
def test_plain_chains_find_the_posterior(of: Any, options: dict[str, Any]) -> None:
    found = np.cov(run(of, 1200, **options).draw(20_000).numpy().T)
    assert np.allclose(found, COVARIANCE, atol=0.2) and found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]) > 0.85


@pytest.mark.parametrize("options", [{}, {"optimizer": "sghmc", "lr": 0.05}])
def test_structured_chains_find_the_mean_field_optimum(options: dict[str, Any]) -> None:
    """Variances 1 / Lambda_ii, a fifth of those of the posterior, and no correlation: also of the chains' positions, not of draws alone."""
    made = run(StructuredSGMCMC, 1200, **{"lr": 0.02} | options)
    found = np.cov(made.draw(20_000).numpy().T)
    assert np.allclose(found.diagonal() * PRECISION.diagonal(), 1, atol=0.12)
    assert abs(found[0, 1]) / found[0, 0] < 0.05
    live = np.corrcoef(made.trace().flatten(0, 1).numpy().T)[0, 1]
    assert abs(live) < 0.15


def test_the_memory_begins_with_the_map_and_ends_with_the_second_half() -> None:
    """400 steps of which 40 descend: rows of the MAP and of every second step after it, the last 100 of them from the second half; 200
    positions of that half."""
    made = build(SGLDSampler, TargetSpec((2,), 1), chains=3, kept=1000)
    made.position.data.fill_(1.0)
    whole = move(made, 400)
    torch.testing.assert_close(made.ring[0], whole[39])
    assert int(made.written) == 1 + 360 and int(made.recorded) == len(made.trace()) == 200 and made.stride == 1
    torch.testing.assert_close(made.trace(), torch.stack(whole[200:])[..., made.traced])
    assert (whole[39] != 0).all() and (whole[39].abs() < whole[0].abs()).all(), "down, and the same for each chain: no noise"
    torch.testing.assert_close(whole[39], whole[39][:1].expand(3, -1))
    short = build(SGLDSampler, TargetSpec((2,), 1), chains=3, kept=100)
    whole = move(short, 400)
    assert short.filled == 100 and int(short.written) == 1 + 180
    kept = {tuple(row.flatten().tolist()) for row in short.ring}
    assert kept == {tuple(at.flatten().tolist()) for at in whole[200::2]}


def test_a_chain_that_was_stopped_within_an_epoch_goes_on_to_the_same_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a step after which a row is remembered and groups are put back."""
    options = {"groups": "random", "live": 0.5, "task.n_train": 100, "train.epochs": 4, "train.batch_size": 20, "hidden": [5], "kept": 50}
    spec = resolve("posterior/digits", "s-sgmcmc", budget="smoke", overrides={"trainer.accelerator": "cpu", **options})
    whole = execute(spec, tmp_path / "whole")
    assert whole.status == "done", whole.failure
    asked = iter([False] * 8 + [True])
    monkeypatch.setattr(stopping, "requested", lambda: next(asked, False))
    with pytest.raises(stopping.Preempted):
        execute(spec, tmp_path / "broken")
    resumed = execute(spec, tmp_path / "broken")
    ends = [load_trained(spec, tmp_path / name).state_dict() for name in ("whole", "broken")]
    assert resumed.metrics == whole.metrics and int(ends[0]["written"]) == int(ends[1]["written"]) > 10
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=0)


# --- the tasks' densities and metrics ---------------------------------------------------------------------


def test_the_gaussian_is_scipys() -> None:
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double()
    known = multivariate_normal([0, 0], COVARIANCE).logpdf(z.numpy())
    difference = Gaussian.log_prob(z).numpy() - known
    assert np.ptp(difference) < 1e-9 and np.allclose(np.cov(Gaussian.exact(200_000, 0).numpy().T), COVARIANCE, atol=0.02)


def test_the_moments_of_the_banana_are_its_integrals() -> None:
    def moment(of: Any) -> float:
        def f(b: float, a: float) -> float:
            return of(a, b) * float(Banana.log_prob(torch.tensor([[a, b]], dtype=torch.float64)).exp())

        return dblquad(f, -5, 5, lambda a: a * a - 1 - 4, lambda a: a * a - 1 + 4, epsabs=1e-5, epsrel=1e-5)[0]

    total, (mean, covariance) = moment(lambda a, b: 1.0), Banana.moments()
    assert moment(lambda a, b: b) / total == pytest.approx(mean[1], abs=1e-3)
    assert moment(lambda a, b: b * b) / total == pytest.approx(covariance[1, 1], abs=2e-3)
    assert np.allclose(np.cov(Banana.exact(400_000, 0).numpy().T), covariance, atol=0.04)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_autocorrelation_times_are_those_of_autoregressions(phi: float) -> None:
    """tau of an AR(1) is (1 + phi) / (1 - phi)."""
    rng, x = np.random.default_rng(0), np.zeros((4000, 8, 1))
    for t in range(1, len(x)):
        x[t] = phi * x[t - 1] + rng.normal(size=x[t].shape)
    assert integrated_autocorrelation(x)[0] == pytest.approx((1 + phi) / (1 - phi), rel=0.1)
    assert integrated_autocorrelation(np.ones((50, 2, 1)))[0] == 50


def test_autocorrelation_times_are_the_sums_of_their_definition() -> None:
    """Products of deviations summed one lag after the other, and Sokal's window searched from below."""
    x = np.random.default_rng(3).normal(size=(120, 3, 4)).cumsum(0) * 0.3 + np.random.default_rng(4).normal(size=(120, 3, 4))
    expected = []
    for k in range(4):
        d = x[:, :, k] - x[:, :, k].mean()
        rho = [sum((d[s] * d[s + t]).sum() for s in range(120 - t)) / (d**2).sum() for t in range(120)]
        taus = [1 + 2 * sum(rho[1 : w + 1]) for w in range(120)]
        expected.append(next((tau for w, tau in enumerate(taus) if w >= 5 * tau), taus[-1]))
    assert integrated_autocorrelation(x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["posterior/gaussian", "posterior/banana"])
def test_exact_draws_have_no_error(name: str) -> None:
    entry = find("task", name)
    cls = entry.load()
    task = cls(cls.Config(), "lite", 0)

    class Exact(MarkovChain, PosteriorSampler):
        stride = 3

        def draw(self, n: int) -> torch.Tensor:
            return cls.exact(n, 5)

        def trace(self) -> torch.Tensor:
            return cls.exact(1000, 6)[:, None]

    exact = Exact()
    observed = task.observe(exact, task.load_train(), task.load_test(task.load_train()), []).arrays
    found = cls.score(observed)
    assert abs(found["mmd2"]) < 5e-3 and found["mean_error"] < 0.03 and found["variance_error"] < 0.05
    assert found["iat"] == pytest.approx(3, rel=0.2)
    z, (_, covariance) = cls.exact(20_000, 5).double().numpy(), cls.moments()
    assert found["marginal_ratio"] == pytest.approx((z.var(0, ddof=1) / covariance.diagonal()).max())
    assert found["chain_correlation"] == pytest.approx(abs(np.corrcoef(cls.exact(1000, 6).double().numpy().T)[0, 1]), abs=1e-6)
    assert cls.score(cls.compact(observed)) == pytest.approx(found, abs=1e-9)
    assert sum(array.nbytes for array in cls.compact(observed).values()) < 16 * 1024
