"""The small network of the fixture ``detectors.npz`` with its images, and detectors that are fitted to them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elboard.bench.kinds.ood import OODSpec
from elboard.bench.task import Data
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.ood.base import PostHoc

GIVEN = dict(np.load(Path(__file__).parents[1] / "fixtures" / "detectors.npz"))
N = len(GIVEN["y"])
SPEC = OODSpec((1, 8, 8), N, likelihood="discretised-logistic", levels=17, n_classes=5)


class Backbone(nn.Module):
    """The fixture's: 64-16, rectified."""

    n_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(x.flatten(1)).relu()


def images(name: str) -> Tensor:
    return (torch.from_numpy(GIVEN[name]).double() / 16).view(-1, 1, 8, 8)


X, Y, TEST = images("x"), torch.from_numpy(GIVEN["y"]).long(), images("test")


def base() -> Softmax:
    of = Softmax(Softmax.Config(backbone="mlp"), SPEC)
    of.backbone, of.head = Backbone(), nn.Linear(16, 5)
    for layer, name in ((of.backbone.hidden, "0"), (of.head, "2")):
        layer.load_state_dict({key: torch.from_numpy(GIVEN[f"{name}_{key}"]) for key in ("weight", "bias")})
    return of.double().eval()


def fitted(cls: type, of: Softmax | None = None, x: Tensor = X, y: Tensor = Y, **options: Any) -> Any:
    """Fitted to the fixture's training images, or to others, in the precision of the base ``of``, else in double precision."""
    of = of or base()
    spec = OODSpec((1, 8, 8), len(x), likelihood="discretised-logistic", levels=17, n_classes=5)
    method = cls(cls.Config(**options), spec, {"classifier": of}).to(of.head.weight.dtype)
    nothing = {"x": torch.full_like(x[:1], torch.nan), "y": y[:1]}  # of which nothing may be learned
    method.fit(Data(spec, {"x": x, "y": y}, nothing), SimpleNamespace(base_folders={}))
    return method


def scores(method: PostHoc, x: Tensor = TEST) -> Tensor:
    with torch.no_grad():
        return method.ood_score(x)


def features(x: Tensor = TEST) -> Tensor:
    with torch.no_grad():
        return base().features(x)


def logits(x: Tensor = TEST) -> Tensor:
    with torch.no_grad():
        return base()(x)
