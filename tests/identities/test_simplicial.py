"""What must hold exactly of generators of separate modes and of truncated latents, and of the task that they are measured on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from elboard.bench.errors import UserError
from elboard.bench.evidence import scored
from elboard.bench.kinds.modes import Modes, ModesSpec
from elboard.bench.metrics import modes
from elboard.methods.gan.simplicial import SimplicialTruncation
from elboard.methods.gan.truncated_sampling import TruncatedSampling
from elboard.methods.gan.wgan_gp import WGAN
from elboard.methods.parts.truncation import Truncation
from elboard.tasks.samples.modes import RADIUS, SIGMA, ModeSamples

IDENTITIES = {
    "simplicial-truncation": (
        "test_the_scores_are_those_of_the_paper",
        "test_half_of_all_latents_are_accepted",
        "test_each_fit_is_the_gan_that_it_would_be_alone",
    ),
    "truncated-sampling": ("test_the_generator_is_that_of_the_run_it_starts_from",),
}
FITS = (Modes(4, 2), Modes(4, 3), Modes(4, 8))
SPEC = ModesSpec((4,), 100, fits=FITS)


def build(spec: ModesSpec = SPEC, **options: Any) -> SimplicialTruncation:
    torch.manual_seed(0)
    return SimplicialTruncation(SimplicialTruncation.Config(**({"hidden": [8, 8]} | options)), spec)


# --- latents ------------------------------------------------------------------------------------


def test_the_scores_are_those_of_the_paper() -> None:
    z = torch.zeros(3, 2, 8)
    z[2, 0], z[2, 1] = torch.arange(8.0), torch.tensor([3.0, 1, 0, 0, 9, 0, 0, 0])
    wide = (math.sqrt(8) * z[2, :, :4] / z[2].norm(dim=1, keepdim=True)).softmax(1).max(1).values
    torch.testing.assert_close(Truncation("simplicial", 0.5, FITS).scores(z)[2], wide)
    assert Truncation("band", 0.5, FITS).scores(z)[2].tolist() == pytest.approx([1 / math.sqrt(2), 2 / math.sqrt(2)])
    assert Truncation("norm", 0.5, FITS).scores(z)[2].tolist() == pytest.approx((-z[2].norm(dim=1)).tolist())


@pytest.mark.parametrize("rule", ["simplicial", "band"])
def test_half_of_all_latents_are_accepted(rule: str) -> None:
    truncation, z = Truncation(rule, 0.5, FITS), torch.randn(3, 40_000, 8)
    accepted = (truncation.scores(z * truncation.own) > truncation.threshold).float().mean(1)
    assert accepted[2].item() == pytest.approx(0.5, abs=0.02) and accepted[:2].tolist() == [1, 1], "without m axes all are"
    kept = truncation.latents(5000)
    assert kept.shape == (3, 5000, 8) and (truncation.scores(kept) > truncation.threshold).all()
    assert not kept[0, :, 2:].any() and not kept[1, :, 3:].any()
    assert kept[0].var(0)[:2].tolist() == pytest.approx([1, 1], abs=0.1)
    assert all((truncation.scores(truncation.latents(64)) > truncation.threshold).all() for _ in range(50))


def test_all_latents_are_accepted_ones_where_the_threshold_is_too_high() -> None:
    """By two standard errors of what it was simulated with: 49 % are accepted, not half."""
    truncation = Truncation("simplicial", 0.5, (Modes(4, 8),))
    truncation.threshold.fill_(truncation.scores(torch.randn(1, 200_000, 8)).quantile(0.51))
    for n in (64, 100_000):
        assert (truncation.scores(truncation.latents(n)) > truncation.threshold).all()


def test_acceptance_at_the_released_value_is_nearly_one() -> None:
    """Of ten modes in 64 dimensions 0.135 rejects hardly any latent, 0.3 half of them."""
    truncation = Truncation("simplicial", 0.5, (Modes(10, 64),))
    scores = truncation.scores(torch.randn(1, 50_000, 64))
    for tau, share in ((0.135, 0.9999), (0.2, 0.93), (0.3, 0.49), (0.4, 0.19)):
        assert (scores > tau).float().mean().item() == pytest.approx(share, abs=0.015)
    assert truncation.threshold.item() == pytest.approx(0.298, abs=0.005)


def test_training_and_sampling_are_truncated_alike() -> None:
    method = build()
    for now in (method.train(), method.eval()):
        assert (method.truncation.scores(now.latents(500)) > method.truncation.threshold).all()
    cut = Truncation("norm", 0.25, FITS)
    assert (-cut.scores(cut.latents(4000)) < -cut.threshold).all()
    assert cut.latents(4000)[2].norm(dim=1).max() < 1.03 * torch.randn(40_000, 8).norm(dim=1).quantile(0.25)
    assert Truncation("none", 0.25, FITS).latents(4000)[2].norm(dim=1).max() > 4


# --- networks -----------------------------------------------------------------------------------


def alone(method: SimplicialTruncation, i: int) -> WGAN:
    """The WGAN-GP of one network and one law with the weights of fit ``i``, without those of dimensions that it has not."""
    fit, c = method.spec.fits[i], method.config
    of = type("Spec", (), {"shape": (fit.modes,), "likelihood": "gaussian"})()
    one = WGAN(WGAN.Config(latent_dim=fit.latent, hidden=c.hidden, penalty=c.penalty), of)
    mine = [layer for layer in (*method.generator, *method.critic) if hasattr(layer, "weight")]
    theirs = [layer for layer in (*one.generator.modules(), one.out, *one.critic.modules()) if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for here, there in zip(mine, theirs, strict=True):
            there.weight.copy_(here.weight[i].T[: there.out_features, : there.in_features])
            there.bias.copy_(here.bias[i, 0, : there.out_features])
    return one


@pytest.mark.parametrize("i", [0, 1, 2])
def test_each_fit_is_the_gan_that_it_would_be_alone(i: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples and both losses of ``wgan-gp``, in a run with fits of more modes and more latents."""
    spec = ModesSpec((6,), 100, fits=(*FITS, Modes(6, 12)))
    method = build(spec, truncation="none")
    one, z = alone(method, i), torch.randn(9, FITS[i].latent)
    wide = torch.nn.functional.pad(z, (0, 12 - z.shape[1]))
    x = torch.zeros(4, 9, 6)
    x[i, :, :4] = torch.randn(9, 4)
    fake = method.generate(wide.expand(4, -1, -1))
    assert not fake[i, :, 4:].any()
    monkeypatch.setattr(torch, "randn", lambda *size, **more: z)
    torch.testing.assert_close(one.sample(9), fake[i, :, :4])
    monkeypatch.undo()
    torch.manual_seed(1)
    share = torch.rand(4, 9, 1)
    monkeypatch.setattr(torch, "rand", lambda *size, **more: share if len(size) == 3 else share[i])
    torch.testing.assert_close(one.slope_penalty(x[i, :, :4], fake[i, :, :4]), method.slope_penalty(x, fake)[i])
    gap = method.critic(x).mean(1) - method.critic(fake).mean(1)
    torch.testing.assert_close(one.critic(x[i, :, :4]).mean() - one.critic(fake[i, :, :4]).mean(), gap[i, 0])


def test_padded_networks_begin_as_they_would_alone() -> None:
    method = build(ModesSpec((32,), 100, fits=(Modes(4, 2), Modes(32, 64))), hidden=[64, 64])
    for layer, inputs, outputs in ((method.generator[0], 2, 64), (method.generator[-1], 64, 4), (method.critic[0], 4, 64)):
        limit = math.sqrt(6 / (inputs + outputs))
        assert layer.weight[0].abs().max().item() == pytest.approx(limit, rel=0.02)
    assert method.generator[0].weight[1].abs().max().item() == pytest.approx(math.sqrt(6 / 128), rel=0.02)


def test_each_loss_trains_one_network_and_noise_beyond_a_fit_none() -> None:
    for loss, trained, other in (("critic_loss", "critic", "generator"), ("generator_loss", "generator", "critic")):
        method = build()
        out = method.critic_loss(torch.randn(3, 9, 4))["loss"] if loss == "critic_loss" else method.generator_loss(9)
        out.backward()
        assert all(parameter.grad is None for parameter in getattr(method, other).parameters())
        assert any(parameter.grad is not None for parameter in getattr(method, trained).parameters())
    assert not method.generator[0].weight.grad[0, 2:].any() and method.generator[0].weight.grad[0, :2].any()


def test_the_generator_is_that_of_the_run_it_starts_from() -> None:
    base = build(truncation="none")
    method = TruncatedSampling(TruncatedSampling.Config(), SPEC, {"generator": base})
    z = torch.randn(3, 50, 8) * method.truncation.own
    assert torch.equal(method.generate(z), base.generate(z)) and not list(method.parameters())
    cut = -method.truncation.threshold[:, 0]
    assert (method.latents(500).norm(dim=2).amax(1) <= cut).all() and (base.latents(500).norm(dim=2).amax(1) > cut).all()


def test_options_are_checked() -> None:
    for options in ({"truncation": "simplical"}, {"acceptance": 0.0}, {"critic_steps": 0}):
        with pytest.raises(UserError):
            build(**options)


# --- the task -----------------------------------------------------------------------------------


def test_the_best_precision_is_that_of_simulated_cells() -> None:
    for m, value in ((2, 0.84), (4, 0.73), (8, 0.65), (16, 0.59), (64, 0.50), (256, 0.43)):
        assert modes.best_precision(m, 0.2) == pytest.approx(value, abs=0.006)
        assert 0.82 < math.exp(-2 * 0.2 * math.sqrt(math.log(m))) / modes.best_precision(m, 0.2) < 1, "the rough form is too low"
    top = np.sort(np.random.default_rng(0).normal(size=(100_000, 10)), axis=1)[:, -2:]
    assert modes.best_precision(10, 0.1) == pytest.approx((np.diff(top)[:, 0] > math.sqrt(2) * 0.1).mean(), abs=0.006)
    assert modes.best_precision(7, 0.0) == pytest.approx(1, abs=1e-9)


def test_laws_are_found_again() -> None:
    m = np.array([4, 8, 16, 32])
    assert modes.by_root(m, np.exp(-0.7 * np.sqrt(np.log(m)))) == pytest.approx(1, abs=1e-6)
    bubbles = np.array([modes.best_precision(of, 0.3) for of in m])
    assert modes.by_bubbles(m, bubbles) == pytest.approx(1, abs=1e-6)
    for eps in (0.02, 0.1, 0.3, 1.0):
        assert 0.89 < modes.by_root(m, np.array([modes.best_precision(of, eps) for of in m])) < 0.95
    assert modes.best_precision(4, modes.WIDEST) == pytest.approx(0.0055, abs=1e-4)
    assert modes.by_root(m, np.array([0.5, 0.6, 0.7, 0.8])) < 0 and modes.by_root(m, np.full(4, 0.5)) == 0
    assert modes.by_root(m, np.array([0.9, 0.3, 0.03, 0.001])) < 0.8, "nothing falls so fast"


def test_cells_and_recall() -> None:
    labels, apart = modes.cells(np.array([[1.0, 0.2], [0.0, 3.0]]), np.eye(2))
    assert labels.tolist() == [0, 1] and apart.tolist() == pytest.approx([0.2, 2.0])
    assert modes.recall(np.array([0, 1, 2, 3]), 4) == 1 and modes.recall(np.array([3, 3]), 4) == 0.25
    assert modes.recall(np.array([0] * 6 + [1] * 2), 4) == pytest.approx(0.5) and modes.recall(np.array([], dtype=int), 4) == 0


def test_separate_clouds_are_linear_and_rings_are_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    clouds = 10 * np.eye(3)[labels] + rng.normal(size=(600, 3))
    assert modes.linear_gain(clouds, labels) == pytest.approx(2 / 3, abs=0.02)
    ring = rng.normal(size=(600, 2))
    inner = (np.linalg.norm(ring, axis=1) < 1.177).astype(int)
    assert modes.linear_gain(ring, inner) < 0.15 and modes.linear_gain(ring, np.zeros(600, dtype=int)) == 0


class Cluster:
    """The simplicial cluster: each latent to the mode of its largest coordinate, of the first m, but for those near a border."""

    def __init__(self, fits: tuple[Modes, ...], eps: float):
        self.fits, self.eps = fits, eps

    def latents(self, n: int) -> torch.Tensor:
        return Truncation("none", 1.0, self.fits).latents(n)

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(*z.shape[:2], max(fit.modes for fit in self.fits))
        for i, fit in enumerate(self.fits):
            first, second = z[i, :, : min(fit.modes, fit.latent)].topk(2, dim=1).values.unbind(1)
            on = (first - second) / math.sqrt(2) > self.eps
            centre = torch.eye(fit.modes)[z[i, :, : min(fit.modes, fit.latent)].argmax(1)]
            found[i, :, : fit.modes] = torch.where(on[:, None], centre, centre / 2)
        return found


def test_the_simplicial_cluster_has_its_precision() -> None:
    task = ModeSamples(ModeSamples.Config(samples=4000, m=[4, 8, 16]), "lite", 0)
    data = task.load_train()
    found = scored(ModeSamples, task.observe(Cluster(data.spec.fits, 0.2), data, task.load_test(data), []))
    for m in (4, 8, 16):
        assert found.metrics[f"on_mode/m{m}-d{2 * m}"] == pytest.approx(modes.best_precision(m, 0.2), abs=0.03)
        assert found.metrics[f"mode_recall/m{m}-d{2 * m}"] > 0.93 and found.metrics[f"mode_recall/m{m}-d2"] == pytest.approx(
            2 / m, abs=0.01
        )
        assert found.metrics[f"convex/m{m}-d{2 * m}"] == 1 and found.metrics[f"linear_gain/m{m}-d{2 * m}"] > 0.6
    assert found.metrics["on_mode_trend"] == -1 and found.metrics["on_mode_bubbles"] > 0.9 and found.metrics["on_mode_law"] > 0.8
    assert ModeSamples.score(found.evidence) == found.metrics


def test_points_lie_on_modes_in_equal_shares() -> None:
    task = ModeSamples(ModeSamples.Config(n_train=8000, m=[4, 32]), "lite", 0)
    data = task.load_train()
    batch = data.on_batch(data.train, torch.Generator())
    x = batch["x"]
    assert x.shape == (6, 8000, 32) and not x[0, :, 4:].any()
    for of, y, m in ((x[0, :, :4], batch["y"][0], 4), (x[5], batch["y"][5], 32)):
        labels, apart = modes.cells(of.numpy(), np.eye(m))
        assert np.array_equal(labels, y) and modes.recall(labels, m) > 0.95
        assert (apart**2).mean() == pytest.approx(SIGMA**2, rel=0.05) and (apart > RADIUS).mean() < 1e-3, "points are on their modes"


def test_true_points_are_near_and_one_mode_is_not() -> None:
    task = ModeSamples(ModeSamples.Config(n_train=1000, samples=1000, m=[4]), "lite", 0)
    data = task.load_train()
    test = task.load_test(data)
    x = data.on_batch(data.train, torch.Generator())["x"]
    one = torch.eye(4)[0].expand(3, 1000, 4)
    near, far = (np.mean(ModeSamples._distances(data.spec.fits, of, test)) for of in (x, one))
    assert near < 0.05 < 0.4 < far


def test_the_picture_shows_samples_where_they_are() -> None:
    fits = tuple(Modes(m, d) for m in (4, 5) for d in (2, m - 1, 2 * m))
    fake = torch.full((6, 10, 5), 9.0)
    fake[4, :, :2] = torch.tensor([-0.49, 1.49])
    picture = ModeSamples._picture(fits, fake)
    assert picture.shape == (3 * 43, 2 * 43) and picture[:129:43][:3, 0].tolist() == [0, 0, 0]
    panel = picture[43:85, 43:85]
    assert panel[0, 0] == 255 and (panel == 255).sum() == 1, "the second m, m - 1 latents; e_1 to the right and e_2 upwards"
