"""Exact identities of autoregressive models of images (paper 085)."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.registry import discover
from elboard.bench.task import Data
from elboard.methods.autoregressive.base import with_ones
from elboard.methods.autoregressive.gated_pixelcnn import GatedPixelCNN
from elboard.methods.autoregressive.pixelcnnpp import PixelCNNPP
from elboard.methods.parts.causal import Normalised
from elboard.methods.parts.pixels import LevelSoftmax, LogisticMixture, level_of

IDENTITIES = {
    "pixelcnnpp": (
        "test_masses_of_all_small_images_sum_to_one",
        "test_a_pixel_sees_those_before_it_and_no_other",
        "test_what_is_drawn_is_what_is_computed_whole",
    ),
    "gated-pixelcnn": (
        "test_masses_of_all_small_images_sum_to_one",
        "test_a_pixel_sees_those_before_it_and_no_other",
        "test_what_is_drawn_is_what_is_computed_whole",
    ),
}
CLASSES = {"pixelcnnpp": PixelCNNPP, "gated-pixelcnn": GatedPixelCNN}
ARMS = [
    ("pixelcnnpp", {"levels": 2, "resnets": 2}),
    ("pixelcnnpp", {"levels": 1}),
    ("pixelcnnpp", {"short_cuts": False, "head": "softmax"}),
    ("gated-pixelcnn", {}),
    ("gated-pixelcnn", {"head": "logistics", "layers": 2}),
]


def made(name: str, shape: tuple[int, ...], grey: int = 256, **options: object):
    """A method with rough weights everywhere, in evaluation."""
    torch.manual_seed(0)
    options = {"width": 8, "components": 3, **options}
    spec = LikelihoodSpec(shape, 10, likelihood="discretised-logistic", levels=grey)
    method = CLASSES[name](discover("method")[name].config_class()(**options), spec)
    method.prepare(Data(spec, {"x": images(20, shape, grey)}))
    for network in (method.network, method.average):
        for parameter in network.parameters():
            own = torch.Generator().manual_seed(parameter.numel())  # the global seed takes a millisecond to set
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=own)
    return method.eval()


def images(n: int, shape: tuple[int, ...], levels: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(levels, (n, *shape), generator=generator) / (levels - 1)


# --- the distribution of a pixel -------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_masses_of_the_256_levels_sum_to_one(spread: float) -> None:
    head = LogisticMixture(1, 256, 5)
    v = torch.linspace(-1, 1, 256)[:, None, None, None]
    for out in spread * torch.randn(20, head.n_outputs, 1, 1, generator=torch.Generator().manual_seed(0)):
        total = head.log_prob(v, out.expand(256, -1, -1, -1)).flatten().double().logsumexp(0)
        assert total.item() == pytest.approx(0, abs=2e-6)


@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_masses_of_all_colours_sum_to_one(spread: float) -> None:
    head = LogisticMixture(3, 6, 4)
    every = torch.tensor(list(itertools.product(torch.linspace(-1, 1, 6).tolist(), repeat=3)))[:, :, None, None]
    for out in spread * torch.randn(3, head.n_outputs, 1, 1, generator=torch.Generator().manual_seed(0)):
        total = head.log_prob(every, out.expand(len(every), -1, -1, -1)).flatten().double().logsumexp(0)
        assert total.item() == pytest.approx(0, abs=2e-6)


def test_the_mass_of_a_level_is_a_difference_of_sigmoids() -> None:
    """By the formula of the paper in double precision; and there are gradients where cells have no mass to speak of."""
    head = LogisticMixture(1, 256, 2)
    out = torch.tensor([0.3, -0.4, 0.1, -0.9, -2.0, -9.0])[None, :, None, None].requires_grad_()  # the second scale is below its bound
    weights, means, scales = out.detach().double().flatten().view(3, 2)
    weights, scales = weights.softmax(0), scales.clamp(min=-7).exp()
    for level in (0, 1, 130, 254, 255):
        v = 2 * level / 255 - 1
        upper = torch.ones(2).double() if level == 255 else ((v + 1 / 255 - means) / scales).sigmoid()
        lower = torch.zeros(2).double() if level == 0 else ((v - 1 / 255 - means) / scales).sigmoid()
        expected = (weights * (upper - lower)).sum().log()
        found = head.log_prob(torch.full((1, 1, 1, 1), v), out)
        assert found.item() == pytest.approx(expected.item(), abs=1e-4)
        (gradient,) = torch.autograd.grad(found.sum(), out)
        assert gradient.isfinite().all() and gradient.any()


def test_a_channel_is_conditioned_on_linearly() -> None:
    """mu' of blue is mu + tanh(c1) r + tanh(c2) g: one and the same mass where means are moved instead."""
    head = LogisticMixture(3, 256, 1)
    out = torch.tensor([0.0, 0.1, -0.2, 0.3, -2.0, -2.5, -3.0, 0.5, -0.6, 0.7])[None, :, None, None]
    v = torch.tensor([0.2, -0.4, 0.6])[None, :, None, None]
    c = out.flatten()[7:].tanh()
    plain = out.clone()
    plain[0, 2] += c[0] * 0.2
    plain[0, 3] += c[1] * 0.2 + c[2] * -0.4
    plain[0, 7:] = 0
    torch.testing.assert_close(head.log_prob(v, out), head.log_prob(v, plain))


@pytest.mark.parametrize("head", [LogisticMixture(3, 8, 2), LevelSoftmax(3, 8)])
def test_draws_have_the_masses(head: torch.nn.Module) -> None:
    torch.manual_seed(0)
    out = torch.randn(1, head.n_outputs, 1, 1)
    for table in getattr(head, "tables", ()):
        torch.nn.init.normal_(table.weight)
    n = 40_000
    levels = level_of(head.draw(out.expand(n, -1, -1, -1)), 8).long().view(n, 3)
    counts = torch.bincount(levels @ torch.tensor([64, 8, 1]), minlength=512) / n
    every = 2 * torch.tensor(list(itertools.product(range(8), repeat=3)))[:, :, None, None] / 7 - 1
    masses = head.log_prob(every, out.expand(512, -1, -1, -1)).flatten().exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-4)
    assert ((counts - masses).abs() < 5 * (masses / n).sqrt() + 1e-4).all()


def test_real_draws_have_the_density() -> None:
    """Kolmogorov's distance of 20,000 draws from the integral of the density."""
    torch.manual_seed(0)
    head, n = LogisticMixture(1, 0, 3), 20_000
    out, axis = torch.randn(1, head.n_outputs, 1, 1), torch.linspace(-60, 60, 24_001)
    density = head.log_prob(axis[:, None, None, None], out.expand(len(axis), -1, -1, -1)).flatten().double().exp()
    drawn = head.draw(out.expand(n, -1, -1, -1)).flatten().sort().values
    distance = (torch.searchsorted(drawn, axis) / n - density.cumsum(0) * 0.005).abs().max()
    assert distance < 2 / n**0.5


# --- networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), ARMS)
@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 1, 1)])
def test_masses_of_all_small_images_sum_to_one(name: str, options: dict, shape: tuple[int, ...]) -> None:
    """Brute force over the 256 images of 2 x 2 pixels with 4 levels, and the 64 of a pixel of three channels."""
    method, size = made(name, shape, grey=4, **options), torch.Size(shape).numel()
    every = (torch.tensor(list(itertools.product(range(4), repeat=size))) / 3).view(-1, *shape)
    with torch.no_grad():
        log_p = method.log_evidence(every, 1).double()
    assert torch.logsumexp(log_p, 0).item() == pytest.approx(0, abs=1e-5)
    assert log_p.std() > 0.1, "weights are rough"


@pytest.mark.parametrize(("name", "options"), ARMS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 4)])
def test_a_pixel_sees_those_before_it_and_no_other(name: str, options: dict, shape: tuple[int, ...]) -> None:
    """Gradients of the outputs at a pixel by all pixels: none by itself and by later ones, and some by all that it may see."""
    method = made(name, shape, **options).double()
    v = method.values(images(1, shape).double()).requires_grad_()
    out = method.network(with_ones(v))
    for i, j in itertools.product(range(shape[1]), range(shape[2])):
        (gradient,) = torch.autograd.grad(out[0, :, i, j].square().sum(), v, retain_graph=True)
        flat, before = gradient[0].flatten(1), i * shape[2] + j
        assert not flat[:, before:].any(), f"({i}, {j}) sees itself or a later pixel"
        if "short_cuts" in options:  # then nothing leads past the smallest maps, which do not see all
            continue
        assert j == 0 or flat[:, before - 1].all(), f"({i}, {j}) does not see the pixel at its left"
        assert i == 0 or flat[:, before - shape[2]].all(), f"({i}, {j}) does not see the pixel above"
        assert i == 0 or j + 1 == shape[2] or flat[:, before - shape[2] + 1].all(), f"({i}, {j}) is blind above at its right"


def test_how_much_is_seen_without_short_cuts() -> None:
    """Shares of the 13 x 13 inner pixels, as the paper's file has them: of the left neighbour, the one above, any of the own row."""
    method = made("pixelcnnpp", (1, 14, 14), short_cuts=False).double()
    v = method.values(images(1, (1, 14, 14)).double()).requires_grad_()
    out, seen = method.network(with_ones(v)), []
    for i, j in itertools.product(range(1, 14), repeat=2):
        (gradient,) = torch.autograd.grad(out[0, :, i, j].square().sum(), v, retain_graph=True)
        by = gradient[0, 0] != 0
        seen.append([by[i, j - 1], by[i - 1, j], by[i].any()])
    shares = torch.tensor(seen).double().mean(0)
    assert [round(100 * share) for share in shares.tolist()] == [21, 46, 43]


@pytest.mark.parametrize(("name", "options"), ARMS)
@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 6, 4), (1, 1, 5), (1, 7, 7)])
def test_what_is_drawn_is_what_is_computed_whole(name: str, options: dict, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps at each pixel while images are drawn are those of the finished images."""
    method, seen = made(name, shape, **options).double(), []
    head, draw = method.average.head, method.average.head.draw
    monkeypatch.setattr(head, "draw", lambda out: (seen.append(out), draw(out))[1])
    x = method.sample(3).double()
    assert x.shape == (3, *shape) and len(seen) == shape[1] * shape[2]
    with torch.no_grad():
        whole = method.average(with_ones(method.values(x)))
    torch.testing.assert_close(torch.cat(seen, 2).view_as(whole), whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(255 * x, (255 * x).round(), rtol=0, atol=1e-4)


def test_short_cuts_and_smaller_maps_are_what_options_say() -> None:
    sizes = {name: sum(p.numel() for p in made("pixelcnnpp", (1, 8, 8), **of).network.parameters()) for name, of in {
        "all": {}, "no short cuts": {"short_cuts": False}, "whole": {"levels": 1}, "two": {"levels": 2},
    }.items()}  # fmt: skip
    assert sizes["whole"] < sizes["two"] < sizes["all"] and sizes["no short cuts"] < sizes["all"]
    network = made("pixelcnnpp", (1, 14, 14), levels=3).network
    assert len(network.of_pixels.shrink) == 1, "14 x 14 can be halved once"


def test_dropout_is_off_in_evaluation_and_the_average_is_what_is_evaluated() -> None:
    method, x = made("pixelcnnpp", (1, 4, 4), dropout=0.5), images(5, (1, 4, 4))
    assert torch.equal(method.log_evidence(x, 1), method.log_evidence(x, 7)), "k is without meaning"
    terms = method.elbo(x)
    assert torch.equal(terms["elbo"], method.log_evidence(x, 1)) and not terms["kl"].any()
    method.train()
    assert not torch.equal(method.log_prob(x), method.log_prob(x))
    for parameter in method.average.parameters():
        parameter.data += 1.0
    with torch.no_grad():
        assert not torch.equal(method.log_evidence(x, 1), terms["elbo"])


def test_averaged_weights_follow() -> None:
    method = made("pixelcnnpp", (1, 4, 4), ema=0.0)
    for parameter in method.network.parameters():
        torch.nn.init.normal_(parameter)
    method.after_step({}, 0)
    assert all(torch.equal(a, b) for a, b in zip(method.average.parameters(), method.network.parameters(), strict=True))


def test_weights_start_by_data() -> None:
    """Outputs of every layer have mean 0 and its deviation on the images that it starts by."""
    x = images(40, (1, 8, 8))
    spec = LikelihoodSpec((1, 8, 8), 40, likelihood="discretised-logistic")
    method = PixelCNNPP(discover("method")["pixelcnnpp"].config_class()(), spec)
    method.prepare(Data(spec, {"x": x}))
    seen: list[tuple[Normalised, Tensor]] = []
    for layer in method.average.modules():
        if isinstance(layer, Normalised):
            layer.register_forward_hook(lambda layer, _, out: seen.append((layer, out)))
    method.average.eval()(with_ones(method.values(x)))
    assert len(seen) > 20
    for layer, out in seen:
        torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(out.shape[1]), rtol=0, atol=1e-3)
        torch.testing.assert_close(out.std((0, 2, 3)), torch.full((out.shape[1],), layer.scale), rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", CLASSES)
def test_real_vectors_are_images_of_one_row(name: str) -> None:
    """Their density, in units of the data, integrates to one; of two coordinates over the second one to the density of the first."""
    t = torch.linspace(-9, 9, 3601)  # points are 3 + sinh(t), so that wide components are whole and narrow ones are resolved
    points, widths = 3 + t.sinh(), t.double().cosh() * 0.005
    for d in (1, 2):
        spec = LikelihoodSpec((d,), 500, likelihood="gaussian")
        torch.manual_seed(0)
        method = CLASSES[name](discover("method")[name].config_class()(width=8), spec)
        method.prepare(Data(spec, {"x": 3 + 2 * torch.randn(500, d)}))
        assert method.eval().sample(7).shape == (7, d)
        for first in (None,) if d == 1 else (1.0, 3.0, 4.0):
            x = points[:, None] if d == 1 else torch.stack([torch.full_like(points, first), points], 1)
            with torch.no_grad():
                total, v = (method.log_evidence(x, 1).double().exp() * widths).sum().item(), method.values(x[:1])
                of_first = method.average.head.log_prob(v, method.average(with_ones(v)))[0, 0, 0].exp() / method.scale
            assert total == pytest.approx(1.0 if d == 1 else of_first.item(), rel=1e-4)
