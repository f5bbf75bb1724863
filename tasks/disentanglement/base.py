"""Disentanglement: what the codes of unseen images tell of the factors that the images were made from, and of each other.

Protocol, common to the family:

* Methods see images alone. With ``labels`` the factors of this share of the training images are handed to them too (``factors`` of the
  batch, -1 for the others): supervision is an option of the task, so that it shows wherever a run does. Validation images carry their
  factors, which select and are not for learning.
* Network. The task names the encoder, which the decoder mirrors, for all methods; pixels are Bernoulli, of grey levels by cross-entropy.
* Representations. The mean of q(z|x), and one sample of it (``/sampled``). Of methods that can be told the factors also the mean of
  q(z|x, u) with those of the test images (``/given``): what a paper may report, and what leaks what it is scored against.
* Factors. Mutual information gap, DCI (disentanglement, completeness, informativeness), SAP, FactorVAE score, modularity
  (:mod:`elboard.bench.metrics.disentanglement` states each), on images that belong to the task and not to the run. Trees and linear models
  learn from the first half of them.
* Codes. Total correlation, mutual information of pairs, absolute covariance, effective rank; for active, mixed and passive units and
  without passive ones; what a logistic regression loses without them (Bonheme and Grzes 2023).
* Reconstruction: the terms of the evidence lower bound, beside which disentanglement has to be seen.

Evidence: the terms of single images, of the representations the statistics from which all scores follow, in matrices of codes and factors.

Selection: the mutual information gap on validation images, whose factors are used for that; epochs are not selected, the last counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.disentanglement import FactorsGiven, FactorSpec
from elboard.bench.metrics import disentanglement as metrics
from elboard.bench.options import Count, Form, Share
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.task import DataTask

BATCH = 500  # images evaluated at once
TERMS = ("elbo", "kl", "reconstruction")
SETS = {"": ("active", "mixed", "passive"), "active": ("active",), "active+mixed": ("active", "mixed"), "passive": ("passive",)}


class Disentanglement(DataTask):
    """The family's protocol; a subclass gives the images, their factors and which of these are continuous."""

    continuous: ClassVar[Sequence[bool]]
    sets: ClassVar[Sets] = {"images": Examples(arrays=TERMS, metrics=TERMS)}
    # Terms are in single precision: at most 1e-7 of some hundred nats.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = dict.fromkeys(TERMS, (5e-5, 0.0))

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 20_000
        n_valid: Count = 2_000
        n_test: Count = 10_000  # Bonheme and Grzes 2023
        labels: Share = 0.0  # share of the training images whose factors methods see, the same ones in all epochs
        network: Annotated[str, Form(r"conv(-[1-9]\d*)+", "of the form conv-16-32")] = "conv-8-16-32"

    def images(self, start: int, n: int) -> tuple[Tensor, np.ndarray]:
        """``n`` images ``(n, C, H, W)`` in [0, 1] and their factors ``(n, K)``, from ``start`` on in an order of the task's own."""
        raise NotImplementedError

    def load_train(self) -> Data:
        c = self.config
        x, factors = self._part(0, c.n_train)
        valid, of_valid = self._part(c.n_train, c.n_valid)
        train = {"x": x}
        if c.labels:
            train["factors"] = torch.from_numpy(np.where(np.arange(len(x))[:, None] < round(c.labels * len(x)), factors, -1))
        sizes = tuple(int(n) for n in np.concatenate([factors, of_valid]).max(axis=0) + 1)
        spec = FactorSpec(tuple(x.shape[1:]), len(x), likelihood="bernoulli", network=c.network, factors=sizes)
        return Data(spec, train, {"x": valid, "factors": torch.from_numpy(of_valid)})

    def load_test(self, data: Data) -> Test:
        x, factors = self._part(self.config.n_train + self.config.n_valid, self.config.n_test)
        return {"x": x, "factors": torch.from_numpy(factors)}

    def _part(self, start: int, n: int) -> tuple[Tensor, np.ndarray]:
        """:meth:`images`. Raises UserError where there are not as many."""
        x, factors = self.images(start, n)
        if len(x) < n:
            raise UserError(f"n_train, n_valid and n_test take images up to number {start + n}, and there are {start + len(x)}")
        return x, factors

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        x, factors = data.valid["x"].to(self.device), data.valid["factors"].numpy()
        codes = torch.cat([method.represent(part) for part in x.split(BATCH)]).double().cpu().numpy()
        elbo = torch.cat([method.elbo(part)["elbo"] for part in x.split(BATCH)]).mean().item()
        return {"mig": metrics.mig(metrics.information(codes, factors), metrics.entropies(factors)), "elbo": elbo}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen: dict[str, list[np.ndarray]] = {}
        for part in test["x"].split(BATCH):
            mean, logvar = method.encode(part.to(self.device))
            terms = method.elbo(part.to(self.device))
            for name, value in {"mean": mean, "logvar": logvar, **{name: terms[name] for name in TERMS}}.items():
                seen.setdefault(name, []).append(value.float().cpu().numpy())
        found = {name: np.concatenate(parts) for name, parts in seen.items()}
        mean, variance = found.pop("mean").astype(np.float64), np.exp(found.pop("logvar").astype(np.float64))
        sampled = mean + np.sqrt(variance) * torch.randn(mean.shape, dtype=torch.float64).numpy()
        factors = test["factors"].numpy()
        found |= {"variance_mean": variance.mean(axis=0), "variance_variance": variance.var(axis=0)}
        found |= {"entropies": metrics.entropies(factors)}
        units = metrics.types(found["variance_mean"], found["variance_variance"])
        for name, codes in (("mean", mean), ("sampled", sampled)):
            found |= {f"{name}_{key}": array for key, array in self._statistics(codes, factors, units).items()}
        if isinstance(method, FactorsGiven):
            parts = zip(test["x"].split(BATCH), test["factors"].split(BATCH), strict=True)
            told = torch.cat([method.encode_given(x.to(self.device), u.to(self.device))[0] for x, u in parts]).double().cpu().numpy()
            found |= {f"given_{key}": array for key, array in self._of_factors(told, factors).items()}
        return Observed(found)

    def _statistics(self, codes: np.ndarray, factors: np.ndarray, units: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        whole = {
            "covariance": np.cov(codes, rowvar=False, bias=True).reshape(codes.shape[1], -1),
            "logistic": np.array([_logistic(codes[:, _union(units, of)], factors) for of in SETS]),
        }
        return {**whole, **self._of_factors(codes, factors), "pairs": metrics.pairwise_information(codes).astype(np.float32)}

    def _of_factors(self, codes: np.ndarray, factors: np.ndarray) -> dict[str, np.ndarray]:
        importances, accuracy = metrics.importances(codes, factors)
        kept = {
            "information": metrics.information(codes, factors),
            "importances": importances,
            "accuracy": accuracy,
            "predictability": metrics.predictability(codes, factors, self.continuous),
        }
        counts = metrics.votes(codes, factors, np.random.default_rng(0)).astype(np.uint16)
        return {**{name: array.astype(np.float32) for name, array in kept.items()}, "votes": counts}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = {name: float(observed[name].mean(dtype=np.float64)) for name in TERMS if name in observed}
        units = metrics.types(observed["variance_mean"], observed["variance_variance"])
        found |= {f"units/{of}": float(mask.sum()) for of, mask in units.items()}
        for name, slice_ in (("mean", ""), ("sampled", "/sampled"), ("given", "/given")):
            arrays = {key.removeprefix(f"{name}_"): array for key, array in observed.items() if key.startswith(f"{name}_")}
            found |= {f"{key}{slice_}": value for key, value in of_factors(arrays, observed["entropies"]).items()} if arrays else {}
        return found | of_units(observed, units)


def _union(units: Mapping[str, np.ndarray], of: str) -> np.ndarray:
    return np.logical_or.reduce([units[kind] for kind in SETS[of]])


def _logistic(codes: np.ndarray, factors: np.ndarray) -> float:
    """0 of no codes, which no metric is of."""
    return metrics.logistic_accuracy(codes, factors) if codes.shape[1] else 0.0


def of_factors(arrays: Mapping[str, np.ndarray], entropies: np.ndarray) -> dict[str, float]:
    """The scores of one representation against the factors."""
    information, importances = arrays["information"].astype(np.float64), arrays["importances"]
    disentanglement, completeness = metrics.dci(importances)
    return {
        "mig": metrics.mig(information, entropies),
        "dci_disentanglement": disentanglement,
        "dci_completeness": completeness,
        "dci_informativeness": float(arrays["accuracy"].mean(dtype=np.float64)),
        "sap": metrics.sap(arrays["predictability"].astype(np.float64)),
        "factorvae_score": metrics.factorvae_score(arrays["votes"]),
        "modularity": metrics.modularity(information),
    }


def of_units(observed: Mapping[str, np.ndarray], units: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How units stand to each other, of all and of those of some types, of means and of samples, as far as there are such units."""
    found: dict[str, float] = {}
    for i, of in enumerate(SETS):
        mask = _union(units, of)
        for name in ("mean", "sampled"):
            slice_ = "-".join(word for word in (of, name if name == "sampled" else "") if word)
            found |= {f"{key}/{slice_}" if slice_ else key: value for key, value in _of_set(observed, name, mask, i).items()}
    passive = units["passive"].any()
    for of in [of for of in SETS if of != "passive"]:
        end, sampled = (f"/{of}", f"/{of}-sampled") if of else ("", "/sampled")
        for key in ("tc", "pair_mi"):
            if key + end in found:
                found[f"{key}_gap{end}"] = found[key + end] - found[key + sampled]
        if of and passive and f"tc_gap{end}" in found:
            found[f"tc_gap_left{end}"] = abs(found[f"tc_gap{end}"]) / max(found["tc_gap"], 1e-9)
        if of and passive and f"logistic_accuracy{end}" in found:
            found[f"logistic_drop{end}"] = found["logistic_accuracy"] - found[f"logistic_accuracy{end}"]
    for of in ("", "active+mixed"):
        others = _union(units, of)
        for name, end in (("mean", f"/{of}" if of else ""), ("sampled", f"/{of}-sampled" if of else "/sampled")):
            if passive and others.sum() > (0 if of else 1) and f"{name}_covariance" in observed:
                found[f"passive_correlation{end}"] = metrics.passive_correlation(observed[f"{name}_covariance"], units["passive"], others)
    return found


def _of_set(observed: Mapping[str, np.ndarray], name: str, mask: np.ndarray, i: int) -> dict[str, float]:
    """Of the units in ``mask`` of the representation ``name``; ``i`` is the number of the set in :data:`SETS`."""
    found = {}
    if f"{name}_logistic" in observed and mask.any():
        found["logistic_accuracy"] = float(observed[f"{name}_logistic"][i])
    if f"{name}_covariance" in observed and mask.sum() > 1:
        covariance = observed[f"{name}_covariance"][np.ix_(mask, mask)]
        found["tc"] = metrics.total_correlation(covariance)
        found["off_diagonal"] = metrics.off_diagonal(covariance)
        found["effective_rank"] = metrics.effective_rank(covariance)
    if f"{name}_pairs" in observed and mask.sum() > 1:
        found["pair_mi"] = metrics.off_diagonal(observed[f"{name}_pairs"][np.ix_(mask, mask)].astype(np.float64))
    return found
