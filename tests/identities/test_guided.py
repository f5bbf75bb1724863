"""Exact identities of class-conditional diffusions, their guidance and their samplers (paper 097)."""

from __future__ import annotations

import pytest
import torch

from elboard.bench.kinds.conditional import AttributeSpec
from elboard.bench.registry import discover
from elboard.methods.diffusion.ddpm_cfg import DDPMCFG
from elboard.methods.diffusion.diffusion_sampler import DiffusionSampler
from elboard.methods.parts.diffusion_solvers import CALLS, SAMPLERS

IDENTITIES = {
    "ddpm-cfg": (
        "test_weight_one_is_the_conditional_model",
        "test_weight_zero_does_not_know_the_class",
        "test_of_all_dropped_the_loss_knows_no_class",
        "test_without_classes_it_is_ddpm",
    ),
    "diffusion-sampler": (
        "test_the_reference_is_the_ancestral_sampler_of_the_same_weights",
        "test_evaluations_are_those_that_are_paid",
    ),
}


def made(attributes: tuple[int, ...] = (3,), **options: object) -> DDPMCFG:
    torch.manual_seed(0)
    spec = AttributeSpec((1, 6, 6), 10, likelihood="discretised-logistic", attributes=attributes)
    method = DDPMCFG(discover("method")["ddpm-cfg"].config_class()(**{"evaluations": 6, **options}), spec)
    for network in (method.network, method.average):
        torch.manual_seed(1)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return method


def drawn(method: DDPMCFG, y: torch.Tensor, guidance: float = 1.0, sampler: str = "ddim", evaluations: int = 6) -> torch.Tensor:
    torch.manual_seed(2)
    return method.drawn(y, sampler, evaluations, "time", guidance)


Y = torch.tensor([[0], [1], [2], [2]])


def test_weight_one_is_the_conditional_model() -> None:
    """The limit from weights that take both models."""
    method = made()
    torch.testing.assert_close(drawn(method, Y, 1.0), drawn(method, Y, 1 + 1e-7), rtol=0, atol=1e-4)
    assert (drawn(method, Y, 1.0) - drawn(method, Y, 2.0)).abs().max() > 1e-3


def test_weight_zero_does_not_know_the_class() -> None:
    method = made()
    assert torch.equal(drawn(method, Y, 0.0), drawn(method, Y.flip(0), 0.0))
    assert not torch.equal(drawn(method, Y, 1.0), drawn(method, Y.flip(0), 1.0))
    torch.manual_seed(2)
    alone = method.solved(method.model, len(Y), "ddim", 6, "time")
    torch.testing.assert_close(drawn(method, Y, 0.0), alone)


def test_guidance_is_a_line_through_both_models() -> None:
    """eps^ = eps(none) + w (eps(c) - eps(none)), before the range of images is imposed."""
    method, seen = made(clip_data=False), {}
    x, t = torch.randn(4, 1, 6, 6), torch.tensor(0.5)
    for w in (0.0, 1.0, 3.0):
        model = []
        method.solved = lambda model_, *_, found=model: found.append(model_) or x  # type: ignore[method-assign]
        method.drawn(Y, "ddim", 6, "time", w)
        seen[w] = model[0](x, t).noise.detach()
    torch.testing.assert_close(seen[3.0], seen[0.0] + 3 * (seen[1.0] - seen[0.0]))


def test_what_guidance_gives_is_in_the_range_of_images() -> None:
    """But for the noise that is left at the last time, a hundredth of a unit of which an image has two."""
    x = drawn(made(), Y, 50.0)
    assert x.min() >= -0.03 and x.max() <= 1.03


def test_of_all_dropped_the_loss_knows_no_class() -> None:
    x = torch.rand(4, 1, 6, 6)

    def losses(method: DDPMCFG) -> list[torch.Tensor]:
        found = []
        for y in (Y, Y.flip(0)):
            torch.manual_seed(3)
            found.append(method.loss({"x": x, "y": y})["loss"])
        return found

    assert torch.equal(*losses(made(drop=1.0)))
    assert not torch.equal(*losses(made(drop=0.0)))


def test_as_many_classes_are_dropped_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen = made(drop=0.1), []
    monkeypatch.setattr(method, "errors", lambda x, t, noise, y: seen.append(y) or x.mean((1, 2, 3)))
    n = 20_000
    method.loss({"x": torch.zeros(n, 1, 6, 6), "y": torch.full((n, 1), 2)})
    assert set(seen[0].tolist()) == {2, 3}, "the class or the one that stands for none"
    assert (seen[0] == 3).double().mean().item() == pytest.approx(0.1, abs=4 * (0.09 / n) ** 0.5)


def test_without_classes_it_is_ddpm() -> None:
    """The loss of the network that is given no class is that of denoising diffusion."""
    method, x = made(drop=1.0), torch.rand(4, 1, 6, 6)
    torch.manual_seed(4)
    loss = method.loss({"x": x, "y": Y})["loss"]
    torch.manual_seed(4)
    torch.rand(4)
    scaled = (x - method.centre) / method.scale
    torch.testing.assert_close(loss, method.errors(scaled, method.times(4), torch.randn_like(x)).mean())


def test_each_combination_of_attributes_is_a_class() -> None:
    method = made(attributes=(2, 3))
    every = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    assert method.class_of(every).tolist() == list(range(6)) and method.n_classes == 6


def sampler(base: DDPMCFG, **options: object) -> DiffusionSampler:
    card = discover("method")["diffusion-sampler"]
    return DiffusionSampler(card.config_class()(**options), base.spec, {"model": base})


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_evaluations_are_those_that_are_paid(name: str, guidance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    base, calls = made(), []
    whole = base.average.forward
    monkeypatch.setattr(base.average, "forward", lambda *of, **known: calls.append(len(of[0])) or whole(*of, **known))
    base.drawn(Y, name, 11, "time", guidance)
    steps = 11 // CALLS.get(name, 1) * CALLS.get(name, 1)
    assert calls == [len(Y)] * steps * (1 if guidance == 1 else 2)


def test_the_reference_is_the_ancestral_sampler_of_the_same_weights() -> None:
    base = made()
    for name in ("ddim", "ancestral"):
        of = sampler(base, sampler=name)
        torch.manual_seed(5)
        found = of.reference(Y, 6)
        torch.manual_seed(5)
        assert torch.equal(found, base.drawn(Y, "ancestral", 6, "time", 1.0))
        torch.manual_seed(5)
        assert torch.equal(of.draw(Y, 6, 1.0), found) == (name == "ancestral")
