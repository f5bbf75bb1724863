"""Identities of early and late dropout: schedules, masks of units and of paths, and the networks that they leave."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.dropout.early_dropout import EarlyDropout
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.masks import DropPath
from elboard.methods.parts.mixer import Mixer

IDENTITIES = {
    "early-dropout": (
        "test_the_schedule",
        "test_without_masks_before_or_after_the_cutoff_it_is_the_plain_network",
        "test_always_is_ordinary_dropout",
    ),
}

SPEC = ClassSpec((1, 8, 8), 100, n_classes=4)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"x": X, "y": torch.arange(6) % 4}


def build(cls: type = EarlyDropout, progress: float = 0.0, **options: object) -> ClassifierMethod:
    torch.manual_seed(0)
    method = cls(cls.Config(**options), SPEC).train()
    method.progress = progress
    return method


def seeded_loss(method: ClassifierMethod) -> torch.Tensor:
    torch.manual_seed(5)
    return method.loss(BATCH)["loss"]


@pytest.mark.parametrize(
    ("options", "rates"),  # at 0, 0.05, 0.1, 0.2 and 1 of training, with the cutoff at 0.2
    [
        ({"when": "early"}, (0.4, 0.3, 0.2, 0.0, 0.0)),
        ({"when": "early", "decay": "constant"}, (0.4, 0.4, 0.4, 0.0, 0.0)),
        ({"when": "late"}, (0.0, 0.0, 0.0, 0.4, 0.4)),
        ({"when": "always"}, (0.4, 0.4, 0.4, 0.4, 0.4)),
    ],
)
@pytest.mark.parametrize("masks", ["units", "paths"])
def test_the_schedule(options: dict, rates: tuple[float, ...], masks: str) -> None:
    """Of the rate, and of what the layers have while they run."""
    method = build(dropout=0.4, cutoff=0.2, masks=masks, **options)
    layers: list[tuple[bool, float]] = []
    for layer in method.backbone.modules():
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda module, given, out: layers.append((isinstance(module, DropPath), module.p)))
    for progress, rate in zip((0.0, 0.05, 0.1, 0.2, 1.0), rates, strict=True):
        method.progress = progress
        layers.clear()
        method.loss(BATCH)
        units, paths = ([p for is_path, p in layers if is_path == wanted] for wanted in (False, True))
        assert method.rate() == pytest.approx(rate) and len(units) == 16 and len(paths) == 8
        depths = [rate * depth / 3 for depth in range(4) for _ in range(2)]
        assert units == pytest.approx([rate if masks == "units" else 0.0] * 16)
        assert paths == pytest.approx(depths if masks == "paths" else [0.0] * 8), "rates of paths rise linearly with depth"


@pytest.mark.parametrize("masks", ["units", "paths"])
def test_without_masks_before_or_after_the_cutoff_it_is_the_plain_network(masks: str) -> None:
    plain = seeded_loss(build(dropout=0.0))
    assert torch.equal(seeded_loss(build(progress=0.5, dropout=0.5, masks=masks)), plain)
    assert torch.equal(seeded_loss(build(progress=0.1, dropout=0.5, masks=masks, when="late")), plain)
    for changed in (build(progress=0.0, dropout=0.5, masks=masks), build(progress=0.5, dropout=0.5, masks=masks, when="late")):
        assert (seeded_loss(changed) - plain).abs() > 1e-4


@pytest.mark.parametrize("backbone", ["mlp", "cnn"])
def test_always_is_ordinary_dropout(backbone: str) -> None:
    ours = seeded_loss(build(dropout=0.3, when="always", backbone=backbone, progress=0.7))
    assert torch.equal(ours, seeded_loss(build(Softmax, dropout=0.3, backbone=backbone)))


def test_a_dropped_path_leaves_the_input_of_its_example() -> None:
    layer = DropPath(0.4).train()
    x = torch.rand(4000, 3, 2) + 0.5
    y = layer(x)
    kept = (y != 0).flatten(1)
    assert (kept.all(1) | ~kept.any(1)).all(), "all of an example or nothing"
    torch.testing.assert_close(y[kept.all(1)], x[kept.all(1)] / 0.6)
    assert kept.all(1).float().mean() == pytest.approx(0.6, abs=5 * (0.24 / 4000) ** 0.5)
    assert torch.equal(layer.eval()(x), x)
    network = Mixer((1, 8, 8)).train()
    for path in [path for pair in network.paths for path in pair]:
        path.p = 1 - 1e-7
    torch.testing.assert_close(network(X), network.norm(network.patches(X).flatten(2).mT).mean(1))


def test_the_mixers_tokens_and_channels() -> None:
    """Before tokens are mixed, what happens in one does not reach another; and the number of parameters is as said."""
    network = Mixer((1, 28, 28))
    assert 23_000 < sum(p.numel() for p in network.parameters()) < 24_000
    h = torch.rand(2, 16, 32)
    changed = h.clone()
    changed[:, 7] += torch.rand(32)
    across, within = network.layers[0], network.layers[1]
    assert [(layer(h) != layer(changed)).any(2).any(0).sum().item() for layer in (across, within)] == [16, 1]


def test_prediction_has_no_masks_whatever_the_progress() -> None:
    method = build(dropout=0.5, when="always").eval()
    assert torch.equal(method.predict(X), build(dropout=0.0).eval().predict(X))
    p = method.masked(X, 2)
    assert not torch.equal(p[0], p[1])
    over = build(dropout=0.5, progress=1.0).eval()
    assert torch.equal(*over.masked(X, 2)), "early dropout has no masks left"


def test_paths_need_a_network_that_has_them() -> None:
    with pytest.raises(UserError, match="masks=paths needs backbone=mixer"):
        build(masks="paths", backbone="cnn")
