"""Compact semantic latents with pixels: stages, weights and targets, frozen features alone, and flows of a plane in more dimensions."""

from __future__ import annotations

import torch
from latent_flows import build, gradients, images, seeded
from torch import Tensor

from elboard.methods.latents.ps_vae import PSVAE, semantic
from elboard.methods.latents.svg_diffusion import SVGDiffusion
from elboard.methods.parts.diffusion_paths import Flow, View

IDENTITIES = {
    "ps-vae": (
        "test_without_bottleneck_and_pixels_it_is_svg_without_residuals",
        "test_pixels_reach_no_latent_in_the_first_stage",
        "test_the_second_stage_starts_at_the_frozen_encoder",
        "test_weights_of_the_second_stage",
        "test_the_target_never_moves",
        "test_a_plane_in_more_dimensions_has_the_flow_of_the_plane_and_shrinks_across_it",
    ),
}


def test_without_bottleneck_and_pixels_it_is_svg_without_residuals() -> None:
    """RAE, bit for bit; latents are those of the encoder."""
    bare = build(SVGDiffusion, residual=0)
    rae = build(PSVAE, bottleneck=False, pixels=0.0, times="uniform")
    x, batch = images(), {"x": images(), "y": torch.arange(12) % 10}
    assert torch.equal(bare.latents(x), bare.base.feature_map(x)) and torch.equal(rae.latents(x), bare.latents(x))
    for progress in (0.0, 1.0):
        bare.progress = rae.progress = progress
        losses = [seeded(of.loss, batch)["loss"] for of in (bare, rae)]
        found = [gradients(of, loss) for of, loss in zip((bare, rae), losses, strict=True)]
        assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_pixels_reach_no_latent_in_the_first_stage() -> None:
    method, x = build(PSVAE), images()
    first = gradients(method, seeded(method.tokenizer_loss, x)["loss"])
    assert {name.split(".")[0] for name in first} == {"compress", "expand", "decoder"}
    with torch.no_grad():  # another decoder changes nothing of what the latents are told
        for p in method.decoder.parameters():
            p.add_(1)
    again = gradients(method, seeded(method.tokenizer_loss, x)["loss"])
    assert all(torch.equal(again[name], of) for name, of in first.items() if not name.startswith("decoder"))
    assert any(not torch.equal(again[name], of) for name, of in first.items() if name.startswith("decoder"))


def test_the_second_stage_starts_at_the_frozen_encoder() -> None:
    method, x = build(PSVAE), images()
    before = {name: p.clone() for name, p in method.named_parameters()}
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        method.tokenizer_loss(x)["loss"].backward()
        optimizer.step()
    assert not torch.equal(before["compress.0.0.weight"], method.compress[0][0].weight)
    assert torch.equal(method.encoder.places(x), method.base.feature_map(x)), "the first stage leaves it"
    method.progress = 0.15
    assert method.joint and not method.generating
    of = gradients(method, method.tokenizer_loss(x)["loss"])
    assert {name.split(".")[0] for name in of} == {"encoder", "compress", "expand", "decoder"}
    assert all(p.grad is None for p in method.base.parameters())
    compact = build(PSVAE, pixels=0.0)
    compact.progress = 0.2
    assert not compact.joint and not any(p.requires_grad for p in compact.encoder.parameters())


def test_weights_of_the_second_stage() -> None:
    x, found = images(), {}
    for name, weights in {"neither": (0.0, 1e-9), "semantics": (1.0, 1e-9), "pixels": (0.0, 0.1), "both": (1.0, 0.1)}.items():
        method = build(PSVAE, semantics=weights[0], pixels=weights[1], kl=0.01)
        method.progress = 0.2
        found[name] = seeded(method.tokenizer_loss, x)
    out = found["both"]
    torch.testing.assert_close(out["loss"], out["semantics"] + 0.1 * out["pixels"] + 0.01 * out["kl"])
    torch.testing.assert_close(found["pixels"]["loss"], 0.1 * out["pixels"] + 0.01 * out["kl"])
    torch.testing.assert_close(found["neither"]["loss"], 0.01 * out["kl"], atol=1e-5, rtol=0)


def test_the_target_never_moves() -> None:
    """What the moved features are compared with is what the frozen encoder gives; alike they cost nothing."""
    method, x = build(PSVAE, bottleneck=False), images()
    method.progress = 0.2
    assert method.tokenizer_loss(x)["semantics"] < 1e-6
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.mul_(1.5)
    moving, frozen = method.encoder.places(x), method.base.feature_map(x)
    torch.testing.assert_close(method.tokenizer_loss(x)["semantics"], semantic(moving, frozen).detach())
    assert semantic(moving, frozen) > 1e-3
    torch.testing.assert_close(semantic(2 * frozen, frozen), frozen.square().mean())


def test_a_plane_in_more_dimensions_has_the_flow_of_the_plane_and_shrinks_across_it() -> None:
    """v_x(x_t) = Q v_z(Q' x_t) + (1/t) (I - Q Q') x_t, of a Gaussian z with any covariance."""
    torch.manual_seed(0)
    path, t = Flow(), torch.tensor(0.37, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(8, 2, dtype=torch.float64))[0]
    factor = torch.randn(2, 2, dtype=torch.float64)
    covariance = factor @ factor.T

    def velocity(x_t: Tensor, of: Tensor) -> Tensor:
        noised = (1 - t) ** 2 * of + t**2 * torch.eye(len(of), dtype=torch.float64)
        data = x_t @ torch.linalg.solve(noised, (1 - t) * of)
        return path.velocity(View(data, (x_t - (1 - t) * data) / t), t)

    x_t = torch.randn(5, 8, dtype=torch.float64)
    wanted = velocity(x_t @ basis, covariance) @ basis.T + (x_t - x_t @ basis @ basis.T) / t
    torch.testing.assert_close(velocity(x_t, basis @ covariance @ basis.T), wanted, atol=1e-9, rtol=0)
