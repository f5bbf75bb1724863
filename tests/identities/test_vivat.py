"""What must hold exactly of autoencoders with places, their normalisations, paddings and adversaries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds import DataSpec
from elboard.methods.parts.spatial import EPS, GROUPS, SCN, RandomFeatures, SpatialDecoder, hinge
from elboard.methods.vae.decoder_tuning import DecoderTuning
from elboard.methods.vae.vivat import VIVAT

IDENTITIES = {
    "vivat": (
        "test_scn_begins_as_group_normalisation",
        "test_the_losses_by_hand",
        "test_neither_loss_moves_the_other_network",
        "test_a_constant_stays_constant_unless_it_is_padded_with_zeros",
    ),
    "decoder-tuning": ("test_codes_stay_what_they_are_bit_for_bit", "test_a_tint_is_an_offset_of_the_image"),
}
SPEC = DataSpec((3, 16, 16), 100)


def build(**options: Any) -> VIVAT:
    torch.manual_seed(0)
    return VIVAT(VIVAT.Config(**({"widths": [8, 16], "code": 2} | options)), SPEC)


def batch(n: int = 5) -> dict[str, Tensor]:
    return {"x": torch.rand(n, *SPEC.shape, generator=torch.Generator().manual_seed(1))}


def loss(method: Any, progress: float = 1.0) -> dict[str, Tensor]:
    method.progress = progress
    torch.manual_seed(5)
    return method.loss(batch())


def test_scn_begins_as_group_normalisation() -> None:
    """Without scale and shift, whatever the code; then both follow the code at each place."""
    maps, z = torch.randn(2, 16, 8, 8), torch.randn(2, 3, 4, 4)
    scn = SCN(16, 3)
    torch.testing.assert_close(scn(maps, z), nn.GroupNorm(GROUPS, 16, EPS, affine=False)(maps), atol=1e-6, rtol=1e-6)
    plain, conditional = build(), build(norm="scn")
    conditional.load_state_dict(plain.state_dict(), strict=False)
    code = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(conditional.decoded(code)[0], plain.decoded(code)[0], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        scn.shift.weight.fill_(1.0)
    wanted = F.group_norm(maps, GROUPS, eps=EPS) + z.sum(1, keepdim=True).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(scn(maps, z), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("padding", "same"), [("zeros", False), ("reflect", True), ("replicate", True)])
def test_a_constant_stays_constant_unless_it_is_padded_with_zeros(padding: str, same: bool) -> None:
    """Of constant codes each map of the decoder is constant, but for the border with zeros; so are codes of a constant image."""
    method = build(padding=padding)
    assert {m.padding_mode for m in method.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) and m is not None} == {padding}
    with torch.no_grad():
        image = method.decoded(torch.ones(1, 2, 4, 4))[0]
        code = method.latent(torch.full((1, 3, 16, 16), 0.3))
    for found in (image, code):
        spread = (found - found[:, :, :1, :1]).abs().max().item()
        assert (spread < 1e-5) == same, spread


def test_the_losses_by_hand() -> None:
    method = build(kl=0.3, perceptual=2.0, adversarial=0.7)
    x, out = batch()["x"], loss(method)
    mean, logvar = method.encoder(x)
    torch.manual_seed(5)
    y = method.decoder(mean + (0.5 * logvar).exp() * torch.randn_like(mean))[0]
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
    generator = (x - y).abs().mean() + 2 * method.distance(x, y) + 0.3 * kl - 0.7 * method.discriminator(y).mean()
    real, fake = method.discriminator(x), method.discriminator(y)
    own = 0.5 * ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    assert out["loss"].item() == pytest.approx((generator + own).item(), rel=1e-5)
    assert build().loss(batch()).keys().isdisjoint({"fooled", "discriminator"}), "no adversary, no discriminator"


def test_a_standard_posterior_costs_nothing_and_the_hinge_is_satisfied_beyond_one() -> None:
    method = build()
    with torch.no_grad():
        method.encoder.layers[-1].weight.zero_()
        method.encoder.layers[-1].bias.zero_()
    assert loss(method)["kl"].item() == 0
    assert hinge(torch.tensor([1.0, 4.0]), torch.tensor([-1.0, -2.0])).item() == 0
    assert hinge(torch.zeros(3), torch.zeros(3)).item() == 1


def test_neither_loss_moves_the_other_network() -> None:
    method = build(adversarial=0.7)
    out = loss(method)
    own = list(method.discriminator.parameters())
    others = [p for name, p in method.named_parameters() if not name.startswith("discriminator.")]
    generator = out["loss"] - out["discriminator"]
    of_generator = torch.autograd.grad(generator, own, retain_graph=True, allow_unused=True)
    assert all(g is None or g.abs().max() < 1e-9 for g in of_generator)
    assert all(g is None for g in torch.autograd.grad(out["discriminator"], others, retain_graph=True, allow_unused=True))
    assert torch.autograd.grad(out["fooled"], method.decoder.out.weight)[0].abs().sum() > 0


def test_the_adversary_waits_for_its_share_of_training() -> None:
    method = build(adversarial=0.7, start=0.25)
    assert "fooled" not in loss(method, 0.2) and "fooled" in loss(method, 0.25)


def test_equal_images_have_no_distance() -> None:
    distance, x = RandomFeatures(3), batch()["x"]
    assert distance(x, x).item() == 0 < distance(x, x.flip(0)).item()
    torch.testing.assert_close(distance(x, x.flip(0)), RandomFeatures(3)(x, x.flip(0)))


def tuned(base: VIVAT, **options: Any) -> DecoderTuning:
    return DecoderTuning(DecoderTuning.Config(**options), SPEC, {"model": base})


def test_a_tint_is_an_offset_of_the_image() -> None:
    base, z = build(), torch.randn(2, 2, 4, 4)
    found = tuned(base, tint=[0.2, 0.0, -0.1]).decoded(z)[0] - base.decoded(z)[0]
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.tensor([0.2, 0.0, -0.1]), atol=1e-6, rtol=0)
    assert found.std((0, 2, 3)).max() < 1e-6


def test_codes_stay_what_they_are_bit_for_bit() -> None:
    base, x = build(), batch()["x"]
    before = {name: p.clone() for name, p in base.state_dict().items()}
    method = tuned(base)
    optimizer = torch.optim.Adam([p for group in method.parameter_groups() for p in group["params"]], 1e-2)
    first = method.loss(batch())["loss"].item()
    for _ in range(10):
        optimizer.zero_grad()
        method.loss(batch())["loss"].backward()
        optimizer.step()
    assert method.loss(batch())["loss"].item() < first
    assert torch.equal(method.latent(x), base.latent(x))
    assert all(torch.equal(p, before[name]) for name, p in base.state_dict().items()), "nor does the run that it starts from change"


def test_options_are_checked() -> None:
    for options in ({"padding": "mirror"}, {"norm": "batch"}):
        with pytest.raises(UserError):
            build(**options)
    with pytest.raises(UserError, match="3"):
        tuned(build(), tint=[0.1])
    maps = SpatialDecoder(3, [8, 16], 2, "zeros", "group")(torch.randn(1, 2, 4, 4))[1]
    assert [tuple(of.shape[1:]) for of in maps] == [(16, 4, 4), (8, 8, 8), (8, 16, 16)]
