"""Flow matching of frozen features with residuals: levels, masks, what is trained, and features alone."""

from __future__ import annotations

import torch
from latent_flows import build, gradients, images

from elboard.methods.latents.svg_diffusion import SVGDiffusion, level, matched

IDENTITIES = {
    "svg-diffusion": (
        "test_without_residuals_latents_are_frozen_features",
        "test_matched_residuals_have_the_level_of_features",
        "test_a_code_does_not_depend_on_what_is_encoded_beside_it",
        "test_masked_images_have_one_residual_at_all_places",
        "test_residual_and_decoder_alone_are_trained",
    ),
}


def test_without_residuals_latents_are_frozen_features() -> None:
    bare, x = build(SVGDiffusion, residual=0), images()
    assert torch.equal(bare.latents(x), bare.base.feature_map(x))
    assert {name.split(".")[0] for name in gradients(bare, bare.tokenizer_loss(x)["loss"])} == {"decoder"}
    more = build(SVGDiffusion).latents(x)
    assert torch.equal(more[:, :32], bare.latents(x)) and more.shape[1] == 36


def test_matched_residuals_have_the_level_of_features() -> None:
    r, f = 3 + 2 * torch.randn(9, 4, 4, 4), 5 * torch.randn(9, 32, 4, 4) - 1
    found = level(matched(r, level(r), level(f)))
    torch.testing.assert_close(found.mean, f.mean())
    torch.testing.assert_close(found.spread, f.transpose(0, 1).flatten(1).std(1, correction=0).mean(), rtol=1e-5, atol=0)
    half = level(r.bfloat16())  # what layers give in half precision
    assert half.mean.dtype == torch.float32
    torch.testing.assert_close(half, level(r.bfloat16().float()))
    z = r.clone().requires_grad_()
    matched(z, level(z), level(f)).sum().backward()  # no gradient through the level: a mean that follows would leave none
    torch.testing.assert_close(z.grad, (level(f).spread / (level(r).spread + 1e-6)).expand_as(r))


def test_a_code_does_not_depend_on_what_is_encoded_beside_it() -> None:
    method, x = build(SVGDiffusion), images()
    method.before_validation()
    torch.testing.assert_close(method.latents(x[:1]), method.latents(x)[:1])
    r, f = method.latents(x)[:, 32:], method.features(x)  # of all training images these are
    torch.testing.assert_close(torch.stack([*level(r)]), torch.stack([*level(f)]), rtol=1e-4, atol=1e-5)
    raw = build(SVGDiffusion, match=False)
    assert torch.equal(raw.latents(x)[:, 32:], raw.residual.places(x))


def test_masked_images_have_one_residual_at_all_places() -> None:
    method = build(SVGDiffusion, mask=0.5)
    r = torch.randn(200, 4, 4, 4)
    seen = method.with_masks(r)
    hidden = (seen == method.masked).flatten(1).all(1)
    assert torch.equal(seen[~hidden], r[~hidden]) and 70 < hidden.sum() < 130
    assert torch.equal(build(SVGDiffusion, mask=0.0).with_masks(r), r)


def test_residual_and_decoder_alone_are_trained() -> None:
    method, x = build(SVGDiffusion, mask=0.5), images()
    before = method.features(x)
    of = gradients(method, method.tokenizer_loss(x)["loss"])
    assert {name.split(".")[0] for name in of} == {"residual", "masked", "decoder"}
    assert all(p.grad is None for p in method.base.parameters()) and torch.equal(method.features(x), before)
