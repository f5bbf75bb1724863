"""Image generation: how likely held-out images are, how good samples look to a feature network, how much the codes carry.

Protocol, common to the family:

* Likelihood. ``elbo[n=...]``, ``kl``, ``reconstruction`` with one sample of z over the n test images; ``nll[k=...,n=...]`` by the k-sample
  importance bound on the first n of them. Methods that give the likelihood itself have ``nll[exact,n=...]``, and no bound nor terms: an
  exact value and a bound never stand in one column. Bernoulli tasks draw one binary version of the validation and test images, with a seed
  that belongs to the task; training images are binarised afresh every time they are shown (Burda et al. 2016; fixed binarisation gives
  other numbers).
* Selection. The NLL of the first 500 validation images by the bound of 50 samples, for every method: a bound of one sample, or a method's
  own objective, would choose epochs of some methods by another quantity than the one that is reported.
* Samples. Frechet and kernel distances between features of n samples (decoder means) and of the grey test images, and Kynkaanniemi's
  precision and recall (of the first 5,000 rows of each; the kernel distance is the mean over 20 subsets of 500 rows, which a generator of
  seed 0 draws: in another order of the rows it is of other subsets). The feature network and n are in the keys; only inception-2015 gives
  numbers comparable with papers, and only its Frechet distance is a ``fid``: of other networks it is ``fd``.
* Codes. ``active_units``, ``mutual_information``, ``mse`` of decoding the code's mean, of at most 10,000 test images, whose number is in
  the keys; for methods with codes. The mutual information is a lower bound that cannot exceed the logarithm of that number.

Evidence: the terms of the bound and ``log_evidence`` of each image, ``nll_k`` or ``exact``; moments of the features, and under the name of
distance and network (``fd[mnist-cnn-49f47c8a]``) the number of samples; mean, log variance and standardised sample of the codes in half
precision (``code_mean``, ``code_logvar``, ``code_noise``), ``squared_error`` of each image. Kernel distance, precision and recall need the
features themselves, which are too large to keep: only running the method again checks them.

The primary metric is the NLL: it is a bound on a proper score, while the distances depend on a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.generation import LatentModel
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics import generation, likelihood
from elboard.bench.metrics.conventions import parse
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, chosen_by_likelihood, images, permutation, stand_in
from elboard.tasks.parts import features
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.parts.pictures import grid, shown

BATCH = 500  # images evaluated at once
CODES = 10_000  # images at most for the statistics of codes
TERMS = ("elbo", "kl", "reconstruction")
MOMENTS = ("real_mean", "real_covariance", "fake_mean", "fake_covariance")


def binarise(batch: Batch, generator: torch.Generator) -> Batch:
    """Pixels drawn from Bernoulli(grey level)."""
    x = batch["x"]
    return {**batch, "x": (torch.rand(x.shape, generator=generator, device=x.device) < x).float()}


def digits_of(split: str, n: int, n_valid: int, budget: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits uint8 ``(n, 28, 28)`` of "train", "valid" or "test" in the splits of ``generation/mnist``, and their classes ``(n, 1)``."""
    part = "test" if split == "test" else "train"
    x, y = stand_in(part) if budget == "smoke" else loaders.mnist(part)
    if part == "train":
        order = permutation(len(x), 1)
        order = order[:n_valid] if split == "valid" else order[n_valid:]
        x, y = x[order], y[order]
    return x[:n], y[:n, None].copy()


class Generation(DataTask):
    """The family's protocol; a subclass gives ``bernoulli``, ``network`` and the images."""

    bernoulli = True
    levels = 256
    network = "mnist-cnn"
    exact_apart = True  # whether exact likelihoods have keys of their own

    sets: ClassVar[Sets] = {
        "images": Examples(arrays=TERMS, metrics=TERMS),
        "bound": Examples(arrays=("log_evidence",), metrics=("nll", "bits_per_dim")),
        "codes": Examples(arrays=("code_*",), metrics=("active_units", "mutual_information")),
        "decoded": Examples(arrays=("squared_error",), metrics=("mse",)),
    }

    # Moments are kept in single precision: over nine runs with Frechet distances of 200 to 320 these differed by 4.3e-5, as with singular
    # covariances of 2,048 features. Codes in half precision changed the mutual information by 2.8e-5 over six
    # runs, and by 7e-3 for simulated posteriors as narrow as 5e-4 in one dimension; one unit may lie at the threshold of activity.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {
        "fid": (1e-3, 0.0),
        "fd": (1e-3, 0.0),
        "mutual_information": (1e-2, 0.0),
        "active_units": (1.0, 0.0),
        "mse": (1e-7, 0.0),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 50_000
        n_valid: Count = 10_000
        n_test: Count = 10_000
        nll_k: Count = 5000  # Burda et al. 2016
        nll_n: Count = 10_000
        samples: Count = 10_000
        network: Literal[  # another feature network than the task's
            "", "mnist-cnn", "fashion-cnn", "digits-cnn", "sprites-cnn", "inception-2015", "efficientnet-lite0"
        ] = ""  # fmt: skip

    def source(self, split: str) -> np.ndarray:
        """Images uint8: "train", of which some validate, or "test"."""
        raise NotImplementedError

    def smoke_source(self, split: str) -> np.ndarray:
        return stand_in(split)[0]

    def _source(self, split: str) -> np.ndarray:
        return self.smoke_source(split) if self.budget == "smoke" else self.source(split)

    def split_train(self, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation images out of ``pool``, by a permutation that belongs to the task."""
        pool = pool[permutation(len(pool), 1)]
        return pool[self.config.n_valid :][: self.config.n_train], pool[: self.config.n_valid]

    def grey(self) -> tuple[LikelihoodSpec, Tensor, Tensor]:
        """The facts of the data, and the grey training and validation images."""
        train, valid = (images(x, self.levels) for x in self.split_train(self._source("train")))
        kind = "bernoulli" if self.bernoulli else "discretised-logistic"
        return LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood=kind, levels=self.levels), train, valid

    def load_train(self) -> Data:
        spec, train, valid = self.grey()
        if not self.bernoulli:
            return Data(spec, {"x": train}, {"x": valid})
        return Data(spec, {"x": train}, binarise({"x": valid}, torch.Generator().manual_seed(0)), on_batch=binarise)

    def load_test(self, data: Data) -> Test:
        """Test images as likelihoods see them, and in grey."""
        grey = images(self._source("test")[: self.config.n_test], self.levels)
        if not self.bernoulli:
            return {"x": grey, "grey": grey}
        fixed = torch.Generator().manual_seed(0)
        torch.rand(data.valid["x"].shape, generator=fixed)  # one stream for both: the validation images come first
        return {**binarise({"x": grey}, fixed), "grey": grey}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return chosen_by_likelihood(method, data.valid["x"], self.device)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, x = self.config, test["x"]
        exact, arrays = self.exact_apart and getattr(method, "exact", False), {}
        if not exact:
            arrays |= self._map(lambda part: {name: value for name, value in method.elbo(part).items() if name in TERMS}, x)
        arrays |= self._map(lambda part: {"log_evidence": method.log_evidence(part, c.nll_k)}, x[: c.nll_n], size=100)
        stated = {"exact": np.array(1)} if exact else {"nll_k": np.array(c.nll_k)}
        seen = Observed({**arrays, **stated, "dimensions": np.array(x[0].numel())})
        for part in (self._samples(method, test["grey"]), self._codes(method, x)):
            seen.arrays |= part.arrays
            seen.pictures |= part.pictures
        return seen

    def _map(self, function: Callable[[Tensor], dict[str, Tensor]], x: Tensor, size: int = BATCH) -> dict[str, np.ndarray]:
        parts = [function(part.to(self.device)) for part in x.split(size)]
        return {name: torch.cat([part[name] for part in parts]).float().cpu().numpy() for name in parts[0]}

    def _samples(self, method: Any, grey: Tensor) -> Observed:
        n = self.config.samples
        fake = torch.cat([method.sample(min(BATCH, n - start)).cpu() for start in range(0, n, BATCH)])
        distance, network, of = features.load(self.config.network or self.network, self.device)
        real_f = self._map(lambda part: {"f": of(part)}, grey)["f"].astype(np.float64)
        fake_f = self._map(lambda part: {"f": of(part.clamp(0, 1))}, fake)["f"].astype(np.float64)
        moments = [moment for f in (real_f, fake_f) for moment in moments_of(f)]
        arrays = {**dict(zip(MOMENTS, moments, strict=True)), f"{distance}[{network}]": np.array(n)}
        return Observed({**arrays, "real_features": real_f, "fake_features": fake_f}, {"samples": grid(fake[: shown(fake)], 10)})

    def _codes(self, method: Any, x: Tensor) -> Observed:
        if not isinstance(method, LatentModel):
            return Observed({})
        x = x[:CODES]
        codes = self._map(lambda part: dict(zip(("code_mean", "code_logvar"), method.encode(part), strict=True)), x)
        decoded = self._map(lambda part: {"x": method.decode(method.encode(part)[0])}, x)["x"]
        codes["code_noise"] = torch.randn(codes["code_mean"].shape).numpy()
        n = shown(x) // 2
        pairs = torch.stack([x[:n], torch.from_numpy(decoded[:n])], dim=1).flatten(0, 1)
        return Observed({**codes, "squared_error": (decoded - x.numpy()) ** 2}, {"reconstructions": grid(pairs, 10)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        keys, log_p = asked or (), observed["log_evidence"]
        found = {f"{name}[n={len(observed[name])}]": mean_of(observed[name]) for name in TERMS if name in observed}
        nll, n = -mean_of(log_p), len(log_p)
        bounds = {"nll": nll}
        if "dimensions" in observed:
            bounds["bits_per_dim"] = likelihood.bits_per_dim(nll, int(observed["dimensions"]))
        for name, value in bounds.items():
            stated = f"exact,n={n}" if "exact" in observed else f"k={observed['nll_k']},n={n}" if "nll_k" in observed else ""
            found |= dict.fromkeys(_stated(name, stated, f",n={n}", keys), value)
        codes = {name[5:]: array.astype(np.float32) for name, array in observed.items() if name.startswith("code_")}
        if codes:
            found[f"active_units[n={len(codes['mean'])}]"] = float(likelihood.active_units(codes["mean"]))
            found[f"mse[n={len(observed['squared_error'])}]"] = mean_of(observed["squared_error"])
        if "noise" in codes:
            z = codes["mean"] + np.exp(0.5 * codes["logvar"]) * codes["noise"]
            found[f"mutual_information[n={len(z)}]"] = likelihood.mutual_information(codes["mean"], codes["logvar"], z)
        return found | distances(observed, asked)

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Moments without the features, the mean error of each image, codes in half precision."""
        kept = {name: array for name, array in observed.items() if not name.endswith("_features")}
        kept |= {name: array.astype(np.float16) for name, array in kept.items() if name.startswith("code_")}
        kept |= {name: kept[name].astype(np.float32) for name in MOMENTS if name in kept}
        if "squared_error" in kept:
            error = kept["squared_error"]
            kept["squared_error"] = error.reshape(len(error), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
        return kept

    @classmethod
    def compact(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Where codes must be cut without those that the mutual information alone needs: of few codes that is the log of their number."""
        kept = super().compact(observed)
        if "kept_codes" not in kept or "code_noise" not in kept:
            return kept
        return super().compact({name: array for name, array in observed.items() if name not in ("code_logvar", "code_noise")})


def _stated(name: str, parameters: str, ending: str, asked: Collection[str]) -> list[str]:
    """The key of ``name`` with the ``parameters`` that arrays state; else those asked for whose parameters end in ``ending``."""
    if parameters:
        return [f"{name}[{parameters}]"]
    parsed = {key: parse(key) for key in asked}
    return [key for key, of in parsed.items() if of.name == name and not of.slice and f",{of.parameters}".endswith(ending)]


def distances(observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
    """What compares samples with images: the Frechet distance by moments; of the run itself also what needs the features."""
    said = next((name for name in observed if name.startswith(("fid[", "fd["))), "")
    keys = [f"{said[:-1]},n={int(observed[said])}]"] if said else [key for key in asked or () if parse(key).name in ("fid", "fd")]
    keys = [key for key in keys if (asked is None or key in asked) and not parse(key).slice and observed.keys() >= set(MOMENTS)]
    found = dict.fromkeys(keys, generation.frechet_distance(*(observed[name] for name in MOMENTS))) if keys else {}
    if "real_features" not in observed:
        return found
    real, fake = observed["real_features"], observed["fake_features"]
    network, few = said[:-1].partition("[")[2], min(len(real), len(fake), 5000)
    precision, recall = generation.precision_recall(real[:few], fake[:few])
    kid = generation.kid(real, fake, subsets=20, subset_size=500, rng=np.random.default_rng(0))
    of = {"kid": (kid, len(fake)), "gen_precision": (precision, few), "gen_recall": (recall, few)}
    return found | {f"{name}[{network},n={n}]": value for name, (value, n) in of.items()}


def mean_of(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))
