"""Generators in latents: stages, times and scales of all, and alignment at its ends, where it is a known method; who gets a gradient."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from latent_flows import SMALL, SPEC, build, gradients, images, seeded, teacher

from elboard.bench.errors import UserError
from elboard.methods.latents.base import moved
from elboard.methods.latents.latent_vae import LatentVAEFlow
from elboard.methods.latents.reals import ReaLS, alignment
from elboard.methods.selfsup.simclr import nt_xent

IDENTITIES = {
    "simclr": ("test_the_contrast_is_a_classification_of_all_views", "test_features_are_means_of_those_at_places"),
    "latent-vae-flow": (
        "test_one_point_is_reached_in_any_number_of_steps",
        "test_shifts_undo_each_other_and_keep_the_ends",
        "test_latents_are_brought_to_unit_scale",
        "test_each_stage_trains_its_own_alone",
    ),
    "reals": (
        "test_without_alignment_it_is_the_plain_autoencoder",
        "test_the_alignment_of_a_vector_with_itself_is_nothing",
        "test_alignment_moves_the_encoder_and_not_the_teacher",
    ),
}


def test_the_contrast_is_a_classification_of_all_views() -> None:
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    z, terms = torch.cat([a, b]), []
    for i in range(10):
        near = {k: (F.cosine_similarity(z[i], z[k], dim=0) / 0.5).exp() for k in range(10) if k != i}
        terms.append(-(near[(i + 5) % 10] / sum(near.values())).log())
    torch.testing.assert_close(nt_xent(a, b, 0.5), torch.stack(terms).mean())
    torch.testing.assert_close(nt_xent(a, b, 0.5), nt_xent(3 * b, a, 0.5))


def test_features_are_means_of_those_at_places() -> None:
    method, x = teacher(), images()
    torch.testing.assert_close(method.represent(x), method.feature_map(x).mean((2, 3)))
    alone = method.feature_map(x[:1])
    torch.testing.assert_close(method.train().feature_map(x)[:1], alone)  # whatever is beside it


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_one_point_is_reached_in_any_number_of_steps(steps: int) -> None:
    method = build(LatentVAEFlow, shift=2.5)
    point = torch.randn(4, 4, 4)
    method.velocity = lambda z, t, y: (z - point) / t[:, None, None, None]
    method.decode = lambda z: z
    method.scale.fill_(0.5)
    method.centre.copy_(torch.randn(4, 1, 1))
    wanted = (method.centre + 0.5 * point).clamp(0, 1)
    torch.testing.assert_close(method.drawn(torch.zeros(2, dtype=torch.long), steps), wanted.expand(2, -1, -1, -1))


def test_shifts_undo_each_other_and_keep_the_ends() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(moved(t, 1.0), t)
    torch.testing.assert_close(moved(moved(t, 0.4), 2.5), t)
    torch.testing.assert_close(1 - moved(1 - t, 0.4), moved(t, 2.5))  # where time runs the other way
    assert moved(t, 2.5)[[0, -1]].tolist() == [0, 1] and (moved(t, 2.5)[1:-1] > t[1:-1]).all()
    assert build(LatentVAEFlow, shift=0.0, channels=16).shift == 1 and build(LatentVAEFlow, shift=0.0).shift == 0.5


def test_latents_are_brought_to_unit_scale() -> None:
    method = build(LatentVAEFlow)
    method.settle()
    mean, logvar = method.encoded(images())
    z = (mean - method.centre) / method.scale
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    total = z.square().mean((0, 2, 3)) + (logvar.exp() / method.scale.square()).mean((0, 2, 3))
    torch.testing.assert_close(total, torch.ones(4))


def test_divergences_are_of_single_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mean, logvar = build(LatentVAEFlow).encoded(images())
    assert mean.dtype == logvar.dtype == torch.float32


def test_each_stage_trains_its_own_alone() -> None:
    method, batch = build(LatentVAEFlow), {"x": images(), "y": torch.arange(12) % 10}
    first = gradients(method, method.loss(batch)["loss"])
    assert {name.split(".")[0] for name in first} == {"encoder", "decoder"} and not method.generating
    method.progress = method.config.tokenizer
    second = gradients(method, method.loss(batch)["loss"])
    assert {name.split(".")[0] for name in second} == {"network"} and method.generating
    assert method.lr_factor(0.0) == 1 and method.lr_factor(0.3) == 1 and method.lr_factor(0.2999) < 1e-3


def test_without_alignment_it_is_the_plain_autoencoder() -> None:
    """Losses and gradients, bit for bit; then the generator's."""
    plain, aligned = build(LatentVAEFlow), build(ReaLS, align=0.0)
    for progress in (0.0, 1.0):
        plain.progress = aligned.progress = progress
        losses = [seeded(of.loss, {"x": images(), "y": torch.arange(12) % 10})["loss"] for of in (plain, aligned)]
        assert torch.equal(*losses)
        wanted, found = (gradients(of, loss) for of, loss in zip((plain, aligned), losses, strict=True))
        assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_the_alignment_of_a_vector_with_itself_is_nothing() -> None:
    u, v = torch.randn(2, 5, 8, dtype=torch.float64)
    scale = torch.rand(8).double() + 0.5
    torch.testing.assert_close(alignment(u, u, scale), torch.zeros(5).double(), atol=1e-12, rtol=0)
    far = torch.full((8,), 1e12, dtype=torch.float64)  # leaves the cosine
    torch.testing.assert_close(alignment(3 * u, v, far), alignment(u, v, far), atol=1e-9, rtol=0)
    torch.testing.assert_close(alignment(u, -u, far), torch.full((5,), 1.8, dtype=torch.float64), atol=1e-9, rtol=0)
    near = 1e-3 * torch.ones(8, dtype=torch.float64)
    small = alignment(near, 2 * near, 2e-3 * torch.ones(8).double())  # half a unit away, where smooth-L1 is half of the square
    torch.testing.assert_close(small, torch.tensor(0.1 * 0.5 * 0.25, dtype=torch.float64))


def test_alignment_moves_the_encoder_and_not_the_teacher() -> None:
    method, x = build(ReaLS), images()
    z = method.latents(x)
    of = gradients(method, method.align_loss(z, method.features(x)))
    assert {name.split(".")[0] for name in of} == {"encoder", "of_places", "of_all"}
    assert all(p.grad is None for p in method.base.parameters()) and of["encoder.layers.0.0.weight"].abs().max() > 0
    before = copy.deepcopy(method.state_dict())
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    first = seeded(method.tokenizer_loss, x)["alignment"]
    for _ in range(20):
        optimizer.zero_grad()
        seeded(method.tokenizer_loss, x)["loss"].backward()
        optimizer.step()
    assert seeded(method.tokenizer_loss, x)["alignment"] < first, "it is minimised"
    assert not torch.equal(before["encoder.layers.3.weight"], method.state_dict()["encoder.layers.3.weight"])


def test_what_has_no_features_at_places_cannot_be_started_from() -> None:
    with pytest.raises(UserError, match="simclr"):
        ReaLS(ReaLS.Config(**SMALL), SPEC, {"encoder": LatentVAEFlow(LatentVAEFlow.Config(**SMALL), SPEC)})
