"""Image generation: how likely held-out images are, how good samples look to a feature network, how much the codes carry.

Protocol, common to the family:

* Likelihood. ``elbo``, ``kl``, ``reconstruction`` with one sample of z over all test images; ``nll[k=...,n=...]`` by the k-sample
  importance bound on the first n test images. Bernoulli tasks draw one binary version of the validation and test images, with a seed that
  belongs to the task; training images are binarised afresh every time they are shown (Burda et al. 2016; fixed binarisation gives other
  numbers).
* Samples. Frechet and kernel distances between features of n samples (decoder means) and of the grey test images, and Kynkaanniemi's
  precision and recall. The feature network and n are in the keys; only inception-2015 gives numbers comparable with papers.
* Codes. ``active_units``, ``mutual_information`` (of at most 2,000 images), ``mse`` of decoding the code's mean; for methods with codes.

Evidence: the terms of the bound and ``log_evidence`` of each image; moments of the features; mean, log variance and standardised sample of
the codes in half precision (``code_mean``, ``code_logvar``, ``code_noise``), ``squared_error`` of each image. Kernel distance, precision
and recall need the features themselves, which are too large to keep: only running the method again checks them.

The primary metric is the NLL: it is a bound on a proper score, while the distances depend on a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.kinds.generation import LatentModel
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics import generation, likelihood
from elboard.bench.metrics.conventions import parse
from elboard.bench.task import Batch, Data, Scores
from elboard.tasks.data.task import DataTask, images, permutation, upsampled_digits
from elboard.tasks.generation import features
from elboard.tasks.generation.pictures import grid

BATCH = 500  # images evaluated at once
CODES = 2000  # images for the statistics of codes
MOMENTS = ("real_mean", "real_covariance", "fake_mean", "fake_covariance")


def binarise(batch: Batch, generator: torch.Generator) -> Batch:
    """Pixels drawn from Bernoulli(grey level)."""
    x = batch["x"]
    return {**batch, "x": (torch.rand(x.shape, generator=generator, device=x.device) < x).float()}


class Generation(DataTask):
    """The family's protocol; a subclass gives ``bernoulli``, ``network`` and the images."""

    bernoulli = True
    levels = 256
    network = "mnist-cnn"

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
        n_train: int = 50_000
        n_valid: int = 10_000
        n_test: int = 10_000
        nll_k: int = 5000  # Burda et al. 2016
        nll_n: int = 10_000
        samples: int = 10_000
        network: str = ""  # another feature network than the task's: inception-2015, efficientnet-lite0

    def sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Training-and-validation images and test images, uint8."""
        raise NotImplementedError

    def smoke_sources(self) -> tuple[np.ndarray, np.ndarray]:
        x, _ = upsampled_digits()
        x = x[permutation(len(x), 0)]
        return x[:1400], x[1400:]

    def load(self) -> Data:
        c = self.config
        pool, test = self.smoke_sources() if self.budget == "smoke" else self.sources()
        pool = pool[permutation(len(pool), 1)]
        train, valid = images(pool[c.n_valid :][: c.n_train], self.levels), images(pool[: c.n_valid], self.levels)
        grey = images(test[: c.n_test], self.levels)
        kind = "bernoulli" if self.bernoulli else "discretised-logistic"
        spec = LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood=kind, levels=self.levels)
        fixed = torch.Generator().manual_seed(0)
        shown = (lambda x: binarise({"x": x}, fixed)) if self.bernoulli else (lambda x: {"x": x})
        return Data(spec, {"x": train}, shown(valid), shown(grey), {"grey": grey}, on_batch=binarise if self.bernoulli else None)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        values = [method.elbo(x.to(self.device))["elbo"] for x in data.valid["x"].split(BATCH)]
        return {"elbo": torch.cat(values).mean().item()}

    def evaluate(self, method: Any, data: Data, history: list[dict[str, float]]) -> Scores:
        metrics, evidence = self._likelihood(method, data.test["x"])
        pictures = {}
        for part in (self._samples(method, data.sealed["grey"]), self._codes(method, data.test["x"])):
            metrics |= part.metrics
            evidence |= part.evidence
            pictures |= part.pictures
        return Scores(metrics, evidence, pictures)

    def _likelihood(self, method: Any, x: Tensor) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        c = self.config
        terms = self._map(lambda part: {name: value for name, value in method.elbo(part).items() if name != "z"}, x)
        log_p = self._map(lambda part: {"log_p": method.log_evidence(part, c.nll_k)}, x[: c.nll_n], size=100)["log_p"]
        nll = -_mean(log_p)
        metrics = {name: _mean(value) for name, value in terms.items()}
        metrics[f"nll[k={c.nll_k},n={len(log_p)}]"] = nll
        metrics[f"bits_per_dim[k={c.nll_k},n={len(log_p)}]"] = likelihood.bits_per_dim(nll, x[0].numel())
        return metrics, {**terms, "log_evidence": log_p, "dimensions": np.array(x[0].numel())}

    def _map(self, function: Callable[[Tensor], dict[str, Tensor]], x: Tensor, size: int = BATCH) -> dict[str, np.ndarray]:
        parts = [function(part.to(self.device)) for part in x.split(size)]
        return {name: torch.cat([part[name] for part in parts]).float().cpu().numpy() for name in parts[0]}

    def _samples(self, method: Any, grey: Tensor) -> Scores:
        n = self.config.samples
        fake = torch.cat([method.sample(min(BATCH, n - start)).cpu() for start in range(0, n, BATCH)])
        distance, network, of = features.load(self.config.network or self.network, self.device)
        real_f = self._map(lambda part: {"f": of(part)}, grey)["f"].astype(np.float64)
        fake_f = self._map(lambda part: {"f": of(part.clamp(0, 1))}, fake)["f"].astype(np.float64)
        moments = [(f.mean(0), np.cov(f, rowvar=False)) for f in (real_f, fake_f)]
        few = min(len(real_f), len(fake_f), 5000)
        precision, recall = generation.precision_recall(real_f[:few], fake_f[:few])
        rng = np.random.default_rng(0)
        metrics = {
            f"{distance}[{network},n={n}]": generation.frechet_distance(*moments[0], *moments[1]),
            f"kid[{network},n={n}]": generation.kid(real_f, fake_f, subsets=20, subset_size=500, rng=rng),
            f"gen_precision[{network},n={few}]": precision,
            f"gen_recall[{network},n={few}]": recall,
        }
        evidence = {name: array.astype(np.float32) for name, array in zip(MOMENTS, (*moments[0], *moments[1]), strict=True)}
        return Scores(metrics, evidence, {"samples": grid(fake[:100], 10)})

    def _codes(self, method: Any, x: Tensor) -> Scores:
        if not isinstance(method, LatentModel):
            return Scores({})
        x = x[:CODES]
        codes = self._map(lambda part: dict(zip(("mean", "logvar"), method.encode(part), strict=True)), x)
        decoded = self._map(lambda part: {"x": method.decode(method.encode(part)[0])}, x)["x"]
        codes["noise"] = torch.randn(codes["mean"].shape).numpy()
        squared = (decoded - x.numpy()) ** 2
        metrics = {**_codes(**codes), "mse": _mean(squared)}
        pairs = torch.stack([x[:50], torch.from_numpy(decoded[:50])], dim=1).flatten(0, 1)
        evidence = {f"code_{name}": array.astype(np.float16) for name, array in codes.items()}
        evidence["squared_error"] = squared.reshape(len(x), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
        return Scores(metrics, evidence, {"reconstructions": grid(pairs, 10)})

    @classmethod
    def recompute(cls, evidence: Mapping[str, np.ndarray], metrics: Iterable[str]) -> dict[str, float]:
        found = {name: _mean(evidence[name]) for name in ("elbo", "kl", "reconstruction") if name in evidence}
        log_p, moments = evidence["log_evidence"], [evidence[name] for name in MOMENTS]
        found["nll"] = -_mean(log_p)
        if "dimensions" in evidence:
            found["bits_per_dim"] = likelihood.bits_per_dim(found["nll"], int(evidence["dimensions"]))
        if "code_noise" in evidence:
            found |= _codes(**{name: evidence[f"code_{name}"].astype(np.float32) for name in ("mean", "logvar", "noise")})
            found["mse"] = _mean(evidence["squared_error"])
        keys = {name: parse(name) for name in metrics}
        if any(key.name in ("fid", "fd") for key in keys.values()):
            found["fid"] = found["fd"] = generation.frechet_distance(*moments)
        bounded = ("nll", "bits_per_dim")  # their key says of how many images they are the mean
        return {
            name: found[key.name]
            for name, key in keys.items()
            if key.name in found and not key.slice and (key.name not in bounded or f"n={len(log_p)}" in key.parameters.split(","))
        }


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))


def _codes(mean: np.ndarray, logvar: np.ndarray, noise: np.ndarray) -> dict[str, float]:
    z = mean + np.exp(0.5 * logvar) * noise
    return {"active_units": float(likelihood.active_units(mean)), "mutual_information": likelihood.mutual_information(mean, logvar, z)}
