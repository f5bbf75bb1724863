"""MNIST as dequantised real vectors: log densities, reconstructions, samples and the moments of codes.

A pixel of level l becomes (l + u) / 256 with u ~ U(0, 1) drawn once with a seed that belongs to the task, for training, validation and test
alike, as on ``density/digits``: densities are of vectors in these units, and ``bits_per_dim`` is their NLL plus the 8 bits of a level's
width, a bound on the mass of grey levels. Splits are those of ``generation/mnist``. Every density is asked for, however its reconstruction
is trained: ``nll[k=...]`` is the k-sample importance bound, or the exact value for methods that have it (k is then without meaning).

The network of the board is ``mlp-200-200`` with 50 latent units, the family's.

For methods with codes, of at most 10,000 test images: ``mse`` of decoding the code's mean, ``active_units``, ``posterior_variance``,
``moments_kl``, ``variance_law``; ``fd`` of these reconstructions (slice ``reconstructions``). For generators ``fd`` of samples (a ``fid``
with Inception's features). For methods whose decoder is a Gaussian of one variance v, ``noise_ratio``: v over the squared error of
decoding one sample of the code, which follows from the bound's reconstruction, D/2 (error / v + log 2 pi v).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.codes import GaussianNoise
from elboard.bench.kinds.generation import Generator, LatentModel
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics import codes, generation
from elboard.bench.metrics.likelihood import active_units, bits_per_dim
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import images, permutation
from elboard.tasks.parts import features
from elboard.tasks.parts.images import BATCH, CODES, TERMS, Generation, mean_of
from elboard.tasks.parts.pictures import grid, shown

CARD = TaskCard(
    name="density/mnist-real",
    title="MNIST as real vectors",
    needs=("RealLikelihood",),
    primary="nll",
    metrics=(
        "nll",
        "elbo",
        "mse",
        "fd",
        "fd/reconstructions",
        "active_units",
        "posterior_variance",
        "moments_kl",
        "moments_kl/means",
        "variance_law",
        "noise_ratio",
    ),
    selection="nll[k=50]",
    data=("mnist",),
    papers=("014", "026", "041", "056"),
    full="50,000 of the training images for 300 epochs; no paper's own setting",
    work={"lite": (20_000, 215_000), "full": (50_000, 50_020_000)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100, "validate_every": 1, "keep": "best"},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "nll_k": 8, "nll_n": 50, "samples": 200},
    },
    "lite": {
        "train": {"epochs": 20, "batch_size": 100, "validate_every": 2, "keep": "best"},
        "task": {"n_train": 20_000, "n_valid": 2000, "n_test": 10_000, "nll_k": 200, "nll_n": 1000, "samples": 5000},
    },
    "full": {
        "train": {"epochs": 300, "batch_size": 100, "validate_every": 5, "keep": "best"},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "nll_k": 5000, "nll_n": 10_000, "samples": 10_000},
    },
}
LEVELS = 256
SPLITS = ("train", "valid", "test")


def _dequantised(x: np.ndarray, split: str) -> Tensor:
    """``(N, H, W)`` uint8 -> ``(N, 1, H, W)`` in [0, 1], with the noise of the split."""
    noise = np.random.default_rng(SPLITS.index(split)).random(x.shape, dtype=np.float32)
    return torch.from_numpy((x + noise) / LEVELS)[:, None]


class MNISTReal(Generation):
    """See the module."""

    exact_apart = False

    sets: ClassVar[Sets] = {
        "images": Examples(arrays=TERMS, metrics=(*TERMS, "noise_ratio")),
        "bound": Examples(arrays=("log_evidence",), metrics=("nll", "bits_per_dim")),
        "codes": Examples(
            arrays=("code_*",),
            metrics=("active_units", "posterior_variance", "moments_kl", "moments_kl/means", "variance_law"),
        ),
        "decoded": Examples(arrays=("squared_error",), metrics=("mse",)),
    }
    # Terms are in single precision, codes in half: 5e-4 of a variance, the logarithm of one that is as narrow as rounding is not kept.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {
        "fd": (1e-3, 0.0),
        "fid": (1e-3, 0.0),
        "active_units": (1.0, 0.0),
        "mse": (1e-7, 0.0),
        "posterior_variance": (1e-2, 0.0),
        "moments_kl": (1e-2, 0.0),
        "variance_law": (1e-2, 1.0),
        "noise_ratio": (1e-5, 0.0),
    }

    def source(self, split: str) -> np.ndarray:
        return loaders.mnist(split)[0]

    def load_train(self) -> Data:
        c, pool = self.config, self._source("train")
        pool = pool[permutation(len(pool), 1)]
        train, valid = _dequantised(pool[c.n_valid :][: c.n_train], "train"), _dequantised(pool[: c.n_valid], "valid")
        spec = LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood="gaussian", levels=LEVELS)
        return Data(spec, {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        """Test images as likelihoods see them, and in grey."""
        levels = self._source("test")[: self.config.n_test]
        return {"x": _dequantised(levels, "test"), "grey": images(levels, LEVELS)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen = super().observe(method, data, test, history)
        if isinstance(method, GaussianNoise):
            seen.arrays["noise_variance"] = method.noise_variance().cpu().double().numpy()
        distance, network, of = features.load(self.config.network or self.network, self.device)
        pictures = {"real": test["grey"], **{name: seen.arrays.pop(name) for name in ("fake", "decoded") if name in seen.arrays}}
        for name, x in pictures.items() if len(pictures) > 1 else ():
            f = self._map(lambda part: {"f": of(part.clamp(0, 1))}, torch.as_tensor(x))["f"].astype(np.float64)
            seen.arrays |= {f"{name}_mean": f.mean(0), f"{name}_covariance": np.cov(f, rowvar=False)}
            seen.arrays |= {f"{distance}-{name}[{network},n={len(x)}]": np.array(len(x))} if name != "real" else {}
        return seen

    def _samples(self, method: Any, grey: Tensor) -> Observed:
        if not isinstance(method, Generator):
            return Observed({})
        n = self.config.samples
        fake = torch.cat([method.sample(min(BATCH, n - start)).cpu() for start in range(0, n, BATCH)])
        return Observed({"fake": fake.numpy()}, {"samples": grid(fake[: shown(fake)], 10)})

    def _codes(self, method: Any, x: Tensor) -> Observed:
        if not isinstance(method, LatentModel):
            return Observed({})
        x = x[:CODES]
        arrays = self._map(lambda part: dict(zip(("code_mean", "code_logvar"), method.encode(part), strict=True)), x)
        decoded = self._map(lambda part: {"x": method.decode(method.encode(part)[0])}, x)["x"]
        arrays |= {"decoded": decoded, "squared_error": _error(torch.from_numpy(decoded), x).numpy()}
        n = shown(x) // 2
        pairs = torch.stack([x[:n], torch.from_numpy(decoded[:n])], dim=1).flatten(0, 1)
        return Observed(arrays, {"reconstructions": grid(pairs, 10)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = {f"{name}[n={len(observed[name])}]": mean_of(observed[name]) for name in TERMS if name in observed}
        nll = -mean_of(observed["log_evidence"])
        stated = f"k={observed['nll_k']},n={len(observed['log_evidence'])}"
        bits = bits_per_dim(nll, int(observed["dimensions"])) + math.log2(LEVELS)
        found |= {f"nll[{stated}]": nll, f"bits_per_dim[{stated}]": bits}
        if "code_mean" in observed:
            mean, logvar = (observed[f"code_{name}"].astype(np.float32) for name in ("mean", "logvar"))
            found |= {f"{name}[n={len(mean)}]{part}": float(value) for (name, part), value in _of_codes(mean, logvar).items()}
            found[f"mse[n={len(observed['squared_error'])}]"] = mean_of(observed["squared_error"])
        if "noise_variance" in observed:
            v, cost = float(observed["noise_variance"]), mean_of(observed["reconstruction"]) / int(observed["dimensions"])
            error = 2 * v * (cost - 0.5 * math.log(2 * math.pi * v))
            found[f"noise_ratio[n={len(observed['reconstruction'])}]"] = v / error
        for of, part in (("fake", ""), ("decoded", "/reconstructions")):
            said = next((name for name in observed if name.partition("[")[0] in (f"fd-{of}", f"fid-{of}")), "")
            moments = [f"{name}_{moment}" for name in ("real", of) for moment in ("mean", "covariance")]
            if said and observed.keys() >= set(moments):
                found[said.replace(f"-{of}", "", 1) + part] = generation.frechet_distance(*(observed[name] for name in moments))
        return found

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Codes in half precision, moments of features in single."""
        types = {"code": np.float16, "real": np.float32, "fake": np.float32, "decoded": np.float32}
        return {name: array.astype(types[of]) if (of := name.split("_")[0]) in types else array for name, array in observed.items()}


def _of_codes(mean: np.ndarray, logvar: np.ndarray) -> dict[tuple[str, str], float]:
    """Metrics of codes ``(N, Z)`` by name and slice."""
    return {
        ("active_units", ""): active_units(mean),
        ("posterior_variance", ""): codes.posterior_variance(logvar),
        ("moments_kl", ""): codes.moments_kl(mean, logvar),
        ("moments_kl", "/means"): codes.moments_kl(mean),
        ("variance_law", ""): codes.variance_law(mean, logvar),
    }


def _error(decoded: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each image, ``(B,)``."""
    return (decoded - x).flatten(1).square().mean(1)
