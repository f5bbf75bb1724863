"""One picture translated periodically in two directions: its images form a flat torus, and so should their codes.

The picture is a trigonometric polynomial (frequencies up to 2, amplitudes falling with their square, random phases, then a sigmoid): it can
be translated by any fraction of a pixel, exactly and periodically. Training images are its translations on a grid of
``side`` x ``side``, test images those half a step of the grid further in both directions, validation images those a quarter of a step
further on a grid of half the side. Each seed has a picture of its own, with random phases: none is chosen, and an interval over seeds is
one over pictures. Their law was chosen: low frequencies, of which a step of the grid changes a picture little, so that an encoder can
follow translations at all. What is found here is found of smooth pictures, those that favour every code of two circles.

* Topology: of the codes of the test images, in the Euclidean space in which the code space lies. ``neighbours`` (primary), the share of
  neighbours that the code keeps; ``torn`` and ``folded``, where it is not continuous or not injective; ``faithful``, 1 where both are at
  most 0.01. A torus cut open to a square has 3 / (2 side) of its steps torn. ``degree``: that of the map to the code's two circles,
  ``winds``: whether it is 1. A torus of unequal circles may be faithful and keep few neighbours: these are by distance.
* Bound: ``elbo``, ``kl``, ``reconstruction`` of the test images, one sample a code. Pixels are grey levels in the place of means of
  Bernoulli pixels: the cross-entropy is the mean log-likelihood over binarisations, so that the bound holds on average.
* ``mse``: of decoding the code's mean.

Evidence: embedded codes and angles in half precision (from which the metrics are computed), terms and error of each image.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.topology import degree, faithfulness
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="topology/torus",
    title="One picture translated in two directions",
    needs=("ManifoldCode",),
    primary="neighbours",
    metrics=("neighbours", "faithful", "winds", "torn", "folded", "elbo", "kl", "mse"),
    selection="neighbours",
    varies="seed and picture",
    papers=("071",),
    full="pictures of 64 x 64 pixels for 1,000 epochs instead of 32 x 32 for 333; no paper's own setting",
    work={"lite": (576, 1152), "full": (576, 1152)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 3, "batch_size": 64, "validate_every": 0}, "task": {"side": 8, "pixels": 16}},
    "lite": {"train": {"epochs": 333, "batch_size": 64, "validate_every": 0}, "task": {"side": 24, "pixels": 32}},
    "full": {"train": {"epochs": 1000, "batch_size": 64, "validate_every": 0}, "task": {"side": 24, "pixels": 64}},
}
TERMS = ("elbo", "kl", "reconstruction")
FREQUENCIES, CONTRAST = 2, 2.0
CHUNK = 500


def picture(offsets: Tensor, pixels: int, seed: int) -> Tensor:
    """The picture of ``seed`` translated by ``offsets`` ``(N, 2)``, in parts of its period: ``(N, 1, pixels, pixels)`` in (0, 1)."""
    rng = np.random.default_rng(seed)
    found = torch.zeros(len(offsets), pixels, pixels, dtype=torch.float64)
    along = torch.arange(pixels, dtype=torch.float64) / pixels
    rows, columns = (along + offsets[:, i : i + 1].double() for i in (0, 1))  # (N, pixels)
    total = 0.0
    for k in range(FREQUENCIES + 1):
        for m in range(-FREQUENCIES, FREQUENCIES + 1):
            amplitude, phase = 1 / max(1, k**2 + m**2), rng.uniform(0, 2 * math.pi)
            if (k, m) > (0, 0):
                found += amplitude * torch.cos(2 * math.pi * (k * rows[:, :, None] + m * columns[:, None, :]) + phase)
                total += amplitude**2 / 2
    return (CONTRAST * found / math.sqrt(total)).sigmoid().float()[:, None]


def translations(side: int, shift: float) -> Tensor:
    """The points of the grid, row by row, ``shift`` steps of it further, in parts of the period: ``(side^2, 2)``."""
    along = (torch.arange(side) + shift) / side
    return torch.cartesian_prod(along, along)


class Torus(Task):
    """See the module."""

    sets: ClassVar[Sets] = {"images": Examples(arrays=(*TERMS, "squared_error"), metrics=(*TERMS, "mse"))}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        side: Count = 24
        pixels: Count = 64

    def load_train(self) -> Data:
        c = self.config
        train, valid = (picture(at, c.pixels, self.seed) for at in (translations(c.side, 0.0), translations(c.side // 2, 0.125)))
        return Data(LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood="bernoulli"), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": picture(translations(self.config.side, 0.5), self.config.pixels, self.seed)}

    def _codes(self, method: Any, x: Tensor) -> dict[str, np.ndarray]:
        """Embedded codes and angles in half precision, decodings in single."""
        z = torch.cat([method.embed(part.to(self.device)) for part in x.split(CHUNK)])
        decoded = torch.cat([method.decode(part) for part in z.split(CHUNK)]).float().cpu().numpy()
        half = {"codes": z, "angles": method.circles(z)}
        return {name: value.float().cpu().numpy().astype(np.float16) for name, value in half.items()} | {"decoded": decoded}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return _topology(self._codes(method, data.valid["x"]))

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x = test["x"]
        seen = self._codes(method, x)
        decoded = seen.pop("decoded")
        terms = [method.elbo(part.to(self.device)) for part in x.split(CHUNK)]
        arrays = {name: torch.cat([part[name] for part in terms]).float().cpu().numpy() for name in TERMS}
        error = ((decoded - x.numpy()) ** 2).mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        some = slice(None, None, max(1, len(x) // 15))
        pairs = torch.stack([x[some][:15], torch.from_numpy(decoded[some][:15])], dim=1).flatten(0, 1)
        pictures = {"reconstructions": grid(pairs, 10)}
        if seen["angles"].shape[1] == 2:
            pictures["angles"] = grid(torch.from_numpy(_shown(seen["angles"])), 2)
        return Observed({**seen, **arrays, "squared_error": error}, pictures)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        means = {name: float(observed[name].mean(dtype=np.float64)) for name in TERMS}
        return {**_topology(observed), **means, "mse": float(observed["squared_error"].mean(dtype=np.float64))}


def _topology(seen: Mapping[str, np.ndarray]) -> dict[str, float]:
    side = math.isqrt(len(seen["codes"]))
    turns = degree(seen["angles"], side)
    return {**faithfulness(seen["codes"], side), "degree": turns, "winds": float(turns == 1)}


def _shown(angles: np.ndarray) -> np.ndarray:
    """The angles over the grid of translations as grey images ``(2, 1, side, side)``: each should rise or fall once along its direction."""
    side = math.isqrt(len(angles))
    return ((angles.astype(np.float32) / (2 * math.pi)) % 1.0).T.reshape(2, 1, side, side)
