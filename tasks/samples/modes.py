"""Generators of m equal, disconnected modes from a Gaussian of d dimensions: how much of their mass must lie between the modes.

The modes are Gaussians around the m unit vectors e_i of R^m, in equal shares, of standard deviation sigma = 0.05 in all (sigma / sqrt(m) in
each dimension: of a point at distance 3 sigma that of m = 32 would have none). A method trains one generator for each m in {4, 8, 16, 32}
and d in {2, m - 1, 2 m} in one run. The batches of all fits have the same noise.

By fit, as slices ``/m8-d16``, of 5,000 samples: ``on_mode``, the share within 3 sigma of a centre, and ``mode_recall``; ``linear_gain`` and
``convex``, whether the latents of one mode, by the nearest centre, form cells that are separated by planes and convex; ``sw1``, the sliced
distance from test points. ``/wide`` is the mean over m with d = 2 m. ``on_mode/wide`` is primary; ``sw1/mean``, from validation points,
selects one epoch for all fits.

Theory: a generator with slopes of at most L cannot be on a mode within (sqrt(2) - 6 sigma) / (2 L) of a border between cells, and the mass
of such a band is least where cells are a simplicial cluster. So ``on_mode`` is at most
:func:`elboard.bench.metrics.modes.best_precision`, which falls with m about as exp(-c sqrt(log m)): ``on_mode_trend``, ``on_mode_law`` and
``on_mode_bubbles``, over m with d = 2 m. The cluster needs d >= m - 1: ``on_mode_drop``.

Evidence: ``fits`` (F, 2), numbers of modes and latent dimensions, and the values by fit, (F,) each. The picture has a row of panels for
each d: samples in the plane of the first two modes.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch
from elboard.bench.card import TaskCard
from elboard.bench.kinds.modes import Modes, ModesSpec
from elboard.bench.metrics import modes
from elboard.bench.metrics.collapse import kendall
from elboard.bench.metrics.rates import directions, sliced_wasserstein
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="samples/modes",
    title="Generators of separate modes",
    needs=("ModeGenerators",),
    primary="on_mode/wide",
    metrics=(
        "on_mode/wide",
        "mode_recall/wide",
        "sw1/wide",
        "on_mode_trend",
        "on_mode_law",
        "on_mode_drop",
        "linear_gain/wide",
        "convex/wide",
    ),
    selection="sw1/mean",
    papers=("106",),
    full="ten times the steps and 20,000 samples; no paper's own setting",
    work={"lite": (12_800, 5000), "full": (12_800, 20_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32, "keep": "best"}, "task": {"n_train": 256, "samples": 200, "m": [4, 5]}},
    "lite": {"train": {"epochs": 50, "batch_size": 64, "validate_every": 2, "keep": "best"}},
    "full": {"train": {"epochs": 500, "batch_size": 64, "validate_every": 10, "keep": "best"}, "task": {"samples": 20_000}},
}
SIGMA, RADIUS = 0.05, 0.15
SEEDS = {"train": 0, "valid": 1, "test": 2}
VALID, PROJECTIONS = 2000, 50
VALUES = ("on_mode", "mode_recall", "linear_gain", "convex", "sw1")
BETWEEN = (0.25, 0.5, 0.75)
SHOWN, PIXELS, REACH = 1000, 42, (-0.5, 1.5)


def placed(batch: Batch, generator: Generator | None = None, *, fits: tuple[Modes, ...]) -> Batch:
    """Points ``x`` (F, B, D) of each fit's law and the numbers ``y`` (F, B) of their modes, of noise ``x`` (B, D) and positions ``u`` (B,)
    among the modes."""
    noise, u = batch["x"], batch["u"]
    m = torch.tensor([fit.modes for fit in fits], device=noise.device)[:, None]
    y = (u * m).long().clamp(max=m - 1)
    own = torch.arange(noise.shape[1], device=noise.device) < m[:, :, None]
    return {"x": torch.nn.functional.one_hot(y, noise.shape[1]) + SIGMA * noise * own / m[:, :, None].sqrt(), "y": y}


class ModeSamples(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 12_800
        samples: Count = 5000
        m: list[Annotated[int, Range(2)]] = field(default_factory=lambda: [4, 8, 16, 32])

    def fits(self) -> tuple[Modes, ...]:
        return tuple(Modes(m, d) for m in self.config.m for d in (2, m - 1, 2 * m))

    def _part(self, part: str, n: int) -> Batch:
        generator = Generator().manual_seed(SEEDS[part])
        return {"x": torch.randn(n, max(self.config.m), generator=generator), "u": torch.rand(n, generator=generator)}

    def load_train(self) -> Data:
        c, fits = self.config, self.fits()
        spec = ModesSpec((max(c.m),), c.n_train, fits=fits)
        return Data(spec, self._part("train", c.n_train), self._part("valid", VALID), on_batch=functools.partial(placed, fits=fits))

    def load_test(self, data: Data) -> Test:
        return self._part("test", self.config.samples)

    @staticmethod
    def _distances(fits: tuple[Modes, ...], fake: Tensor, part: Batch) -> list[float]:
        """Sliced, from the points of ``part``, as many as ``fake`` (F, N, D) are."""
        real = placed(part, fits=fits)["x"].numpy()
        each = zip(fits, fake.float().cpu().numpy(), real, strict=True)
        return [sliced_wasserstein(x[:, : fit.modes], y[:, : fit.modes], directions(fit.modes, PROJECTIONS)) for fit, x, y in each]

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        fake = method.generate(method.latents(len(data.valid["x"])))
        return {CARD.selection: float(np.mean(self._distances(data.spec.fits, fake, data.valid)))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        fits, z = data.spec.fits, method.latents(len(test["x"]))
        fake, (a, b) = method.generate(z), method.latents(2 * len(test["x"])).chunk(2, dim=1)
        ways = [method.generate(b + share * (a - b)).float().cpu().numpy() for share in (0.0, *BETWEEN, 1.0)]
        found: dict[str, list[float]] = {name: [] for name in VALUES} | {"sw1": self._distances(fits, fake, test)}
        for i, fit in enumerate(fits):
            centres = np.eye(fit.modes)
            labels, apart = modes.cells(fake[i, :, : fit.modes].float().cpu().numpy(), centres)
            found["on_mode"].append(float((apart <= RADIUS).mean()))
            found["mode_recall"].append(modes.recall(labels[apart <= RADIUS], fit.modes))
            found["linear_gain"].append(modes.linear_gain(z[i, :, : fit.latent].float().cpu().numpy(), labels))
            first, *between, last = (modes.cells(way[i, :, : fit.modes], centres)[0] for way in ways)
            same = first == last
            found["convex"].append(float(np.mean([(of == first)[same].mean() for of in between])) if same.any() else 0.0)
        rows = np.array([(fit.modes, fit.latent) for fit in fits])
        return Observed({"fits": rows} | {name: np.array(of) for name, of in found.items()}, {"samples": self._picture(fits, fake)})

    @staticmethod
    def _picture(fits: tuple[Modes, ...], fake: Tensor) -> np.ndarray:
        """Panels of samples in the plane of e_1 and e_2: a row for each of the three numbers of latent dimensions, a column for each m."""
        low, high = REACH
        at = ((fake[:, :SHOWN, :2].float().cpu() - low) / (high - low) * PIXELS).long()
        panels = torch.zeros(len(fits), 1, PIXELS, PIXELS)
        for panel, points in zip(panels, at, strict=True):
            column, row = points[((points >= 0) & (points < PIXELS)).all(1)].T
            panel[0].index_put_((PIXELS - 1 - row, column), torch.tensor(1.0))
        return grid(panels.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1), len(fits) // 3)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        m, d = observed["fits"].T
        found, wide, on = {}, d == 2 * m, observed["on_mode"]
        for name in VALUES:
            found |= {f"{name}/m{of[0]}-d{of[1]}": float(value) for of, value in zip(observed["fits"], observed[name], strict=True)}
            found |= {f"{name}/wide": float(observed[name][wide].mean()), f"{name}/mean": float(observed[name].mean())}
        return found | {
            "on_mode_trend": kendall(m[wide].astype(float), on[wide]),
            "on_mode_law": modes.by_root(m[wide], on[wide]),
            "on_mode_bubbles": modes.by_bubbles(m[wide], on[wide]),
            "on_mode_drop": float(on[d == m - 1].mean() - on[d == 2].mean()),
        }
