"""Coloured shapes on textures, 32 x 32 RGB, drawn here: reconstructions by their artefacts, one number for each kind.

An image is a Gaussian random field in three correlated channels, whose spectrum falls by a power of 1 to 2 of the frequency, with two
discs or squares of one colour each on it: it has detail at all scales and sharp edges. Field and shapes go on around the borders, so that
corners are places like any other. All budgets draw their images; splits come from random streams of their own.

* ``psnr`` (primary), ``ssim`` of decoding the code's mean.
* ``colour_shift``; ``grid_energy``, of what repeats every 8 pixels, the decoder's upsampling; ``high_band``, below 1 where a
  reconstruction is blurred; ``corner_error``; ``spikes`` of decoder maps, the droplets of StyleGAN.
* ``latent_change``: of a method that starts from a run, the largest difference of a code from that run's.

The definitions are ours (:mod:`elboard.bench.metrics.artefacts`). Evidence: the sums of each image. Selection: the PSNR of 200 validation
images; epochs are not selected, the last counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds import DataSpec
from elboard.bench.metrics import artefacts as metrics
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.images import mean_of
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="artefacts/shapes",
    title="Coloured shapes on textures, reconstructed",
    needs=("ImageAutoencoder",),
    primary="psnr",
    metrics=("psnr", "ssim", "colour_shift", "grid_energy", "high_band", "corner_error", "spikes", "latent_change"),
    selection="psnr",
    papers=("072",),
    full="50,000 images for 50 epochs; no paper's own setting",
    work={"lite": (4000, 800), "full": (50_000, 8000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 96, "n_valid": 40, "n_test": 60}},
    "lite": {"train": {"epochs": 6, "batch_size": 32, "validate_every": 3}, "task": {}},
    "full": {"train": {"epochs": 50, "batch_size": 32, "validate_every": 10}, "task": {"n_train": 50_000, "n_test": 4000}},
}
WIDTH, FACTOR, CHUNK, SELECT_N = 32, 8, 200, 200
AT_ONCE = 1000  # images drawn at once: bounds the memory of their spectra
STREAMS = {"train": 1, "valid": 2, "test": 3}
SUMS = ("squared_error", "ssim", "shift", "on_grid", "beside_grid", "fine_real", "fine_fake", "corners", "centre", "spikes")
OF = ("psnr", "ssim", "colour_shift", "grid_energy", "high_band", "corner_error", "spikes")


def draw(n: int, rng: np.random.Generator) -> np.ndarray:
    """Images float32 ``(n, 3, 32, 32)`` in [0, 1]."""
    at = (np.arange(WIDTH) + 0.5) / WIDTH
    radius = np.hypot(np.fft.fftfreq(WIDTH)[:, None], np.fft.fftfreq(WIDTH)[None])
    radius[0, 0] = np.inf
    falls = rng.uniform(1, 2, (n, 1, 1, 1))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, 3, WIDTH, WIDTH))) * radius**-falls).real
    field /= field.std(axis=(1, 2, 3), keepdims=True)
    mixed = np.einsum("ncd,ndhw->nchw", 0.5 * np.eye(3) + rng.uniform(0, 0.3, (n, 3, 3)), field)
    x = rng.uniform(0.3, 0.7, (n, 3, 1, 1)) + 0.15 * mixed
    for _ in range(2):
        centre, size = rng.uniform(0, 1, (2, n, 1, 1)), rng.uniform(0.1, 0.25, (n, 1, 1))
        dx, dy = ((of + 0.5) % 1 - 0.5 for of in (at[None, None, :] - centre[0], at[None, :, None] - centre[1]))
        disc = rng.random((n, 1, 1)) < 0.5
        inside = np.where(disc, np.hypot(dx, dy), np.maximum(np.abs(dx), np.abs(dy))) <= size
        x = np.where(inside[:, None], rng.uniform(0, 1, (n, 3, 1, 1)), x)
    return x.clip(0, 1).astype(np.float32)


class ArtefactShapes(Task):
    """See the module."""

    sets: ClassVar[Sets] = {"images": Examples(arrays=SUMS, metrics=OF)}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 4000
        n_valid: Count = 400
        n_test: Count = 400

    def _images(self, split: str, n: int) -> Tensor:
        rng = np.random.default_rng(STREAMS[split])
        return torch.from_numpy(np.concatenate([draw(min(AT_ONCE, n - start), rng) for start in range(0, n, AT_ONCE)]))

    def load_train(self) -> Data:
        c = self.config
        train, valid = self._images("train", c.n_train), self._images("valid", c.n_valid)
        return Data(DataSpec(tuple(train.shape[1:]), len(train)), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": self._images("test", self.config.n_test)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        x = data.valid["x"][:SELECT_N].to(self.device)
        error = (method.decoded(method.latent(x))[0].clamp(0, 1) - x).square().mean((1, 2, 3))
        return {"psnr": float(_psnr(error.double().cpu().numpy()))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen: dict[str, list[np.ndarray]] = {}
        changes, pairs = [], []
        bases = getattr(method, "all_bases", list)()
        for part in test["x"].split(CHUNK):
            x = part.to(self.device)
            z = method.latent(x)
            y, maps = method.decoded(z)
            y = y.clamp(0, 1)
            for name, value in _sums(x, y, maps).items():
                seen.setdefault(name, []).append(value)
            changes += [(z - base.latent(x)).abs().max().item() for base in bases]
            pairs.append(torch.stack([x[:10], y[:10]], 1).flatten(0, 1).cpu())
        arrays = {name: np.concatenate(parts).astype(np.float32) for name, parts in seen.items()}
        if changes:
            arrays["latent_change"] = np.array(max(changes))
        return Observed(arrays, {"reconstructions": grid(pairs[0], 10)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        mean = {name: mean_of(observed[name]) for name in SUMS}
        found = {"psnr": _psnr(observed["squared_error"]), "ssim": mean["ssim"], "colour_shift": mean["shift"], "spikes": mean["spikes"]}
        for name, of, over in (("grid_energy", "on_grid", "beside_grid"), ("high_band", "fine_fake", "fine_real")):
            found[name] = mean[of] / max(mean[over], 1e-12)
        found["corner_error"] = (mean["corners"] / max(mean["centre"], 1e-12)) ** 0.5
        return found | ({"latent_change": float(observed["latent_change"])} if "latent_change" in observed else {})


def _psnr(squared_error: np.ndarray) -> float:
    return mean_of(-10 * np.log10(np.maximum(squared_error.astype(np.float64), 1e-10)))


def _sums(x: Tensor, y: Tensor, maps: list[Tensor]) -> dict[str, np.ndarray]:
    """What the metrics are made of, for each image."""
    real, fake = (of.double().cpu().numpy() for of in (x, y))
    residual = fake - real
    on, beside = metrics.grid_power(residual, FACTOR)
    corners, centre = metrics.corners_and_centre(residual)
    return {
        "squared_error": (residual**2).mean(axis=(1, 2, 3)),
        "ssim": metrics.ssim(x.double(), y.double()).cpu().numpy(),
        "shift": np.abs(residual.mean(axis=(2, 3))).mean(axis=1),
        "on_grid": on,
        "beside_grid": beside,
        "fine_real": metrics.fine_detail(real),
        "fine_fake": metrics.fine_detail(fake),
        "corners": corners,
        "centre": centre,
        "spikes": metrics.spikes(maps).double().cpu().numpy(),
    }
