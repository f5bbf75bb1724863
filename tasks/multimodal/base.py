"""The protocol of pictures in several modalities: how good they are, how coherent, how likely, and what codes tell.

Modalities are called ``m1``, ``m2`` ... Methods see no classes. Values are Laplace of one fixed scale for all modalities: 0.75 at 28 x 28
(Sutter, Daunhawer and Vogt 2021), a quarter of that for a quarter of the pixels. Common to the family:

* Quality. ``fd[network-...,n=...]/m1`` ..: Frechet distance of joint samples of a modality from the test pictures in the features of the
  task's networks, the same for all methods; ``/mean`` over modalities, which ranks. Samples are means of the likelihood.
* Coherence, by a classifier of each modality. ``joint_coherence``: joint samples that all of them put in one class.
  ``conditional_coherence/given1`` ..: of modalities generated given so many others, the share of the class of these, mean over all sets
  of as many and over the modalities that each leaves; ``/mean`` over the numbers.
* Likelihood, of methods that bound it: ``elbo`` of all modalities together in nats, its terms, and ``reconstruction/m1`` ...
* Codes, of methods that have them: ``latent_accuracy/given1``, mean over modalities, and ``/all``, of logistic regression on codes of the
  validation pictures, tested on those of the test pictures.

Validation: the Frechet distance of 500 joint samples from 500 validation pictures, mean over modalities; epochs are not selected, the last
counts. Evidence: terms of the bound by example, hits by example (counts of those of each example), moments of features. Chance of any
coherence given others is 0.1, and of joint coherence 10^(1 - M).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.multimodal import Modality, MultimodalEncoder, MultimodalLikelihood, MultimodalSpec
from elboard.bench.metrics.conventions import parse
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.task import DataTask
from elboard.tasks.multimodal import networks
from elboard.tasks.parts.images import mean_of
from elboard.tasks.parts.moments import moments_of, packed, unpacked
from elboard.tasks.parts.pictures import grid

BATCH, SELECT_N, SCALE = 500, 500, 0.75
TERMS = ("elbo", "kl", "reconstruction")


class Multimodal(DataTask):
    """The family's protocol; a subclass gives the modalities, their pictures and the networks that look at them."""

    network: ClassVar[str]

    sets: ClassVar[Sets] = {
        "images": Examples(arrays=(*TERMS, "reconstruction_*"), metrics=(*TERMS, "reconstruction/*")),
        "joint": Examples(arrays=("joint_hits",), metrics=("joint_coherence",)),
        "given": Examples(arrays=("hits_given*",), metrics=("conditional_coherence*",)),
        "codes": Examples(arrays=("latent_*",), metrics=("latent_accuracy*",)),
    }
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"fd": (2e-2, 0.0)}  # correlations in 16 bits

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        pooled: bool = True  # 14 x 14 pixels, means of 2 x 2
        n_train: Count = 10_000
        n_valid: Count = 1000
        n_test: Count = 2000

    @property
    def names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def examples(self, split: str) -> tuple[Batch, Tensor]:
        """Modalities by name, ``(n, C, H, W)`` each, and classes ``(n,)``, of "train", "valid" or "test"."""
        raise NotImplementedError

    def load_train(self) -> Data:
        train, valid = (self.examples(split)[0] for split in ("train", "valid"))
        modalities = tuple(Modality(name, tuple(train[name].shape[1:])) for name in self.names)
        first, scale = modalities[0].shape, SCALE / 4 if self.config.pooled else SCALE
        n = len(train["m1"])
        return Data(MultimodalSpec(first, n, likelihood="laplace", modalities=modalities, scale=scale), train, valid)

    def load_test(self, data: Data) -> Test:
        x, y = self.examples("test")
        return {**x, "y": y, "valid_y": self.examples("valid")[1]}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        real = {name: of[:SELECT_N] for name, of in data.valid.items()}
        with torch.random.fork_rng(devices=[]):
            fake = self._drawn(lambda n: method.sample_joint(len(n)), torch.zeros(len(real["m1"])))
        _, of = networks.load(self.device, self.network)
        moments = [[moments_of(self._features(of, name, x[name])) for x in (real, fake)] for name in fake]
        return {self.card.selection: float(np.mean([frechet_distance(*real, *drawn) for real, drawn in moments]))}

    def _drawn(self, function: Any, *given: Any) -> Batch:
        """What ``function`` gives for ``given`` (tensors, or modalities by name), in batches, on the CPU."""
        (of,) = given
        n = len(of) if isinstance(of, Tensor) else len(next(iter(of.values())))
        parts = []
        for start in range(0, n, BATCH):
            rows = slice(start, start + BATCH)
            part = of[rows] if isinstance(of, Tensor) else {name: x[rows].to(self.device) for name, x in of.items()}
            found = function(part)
            parts.append({"found": found} if isinstance(found, Tensor) else found)
        return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}

    def _features(self, of: networks.Networks, name: str, x: Tensor) -> np.ndarray:
        extract, m = of.features, int(name[1:]) - 1
        return torch.cat([extract(m, part.to(self.device).clamp(0, 1)).cpu() for part in x.split(BATCH)]).double().numpy()

    def _classes(self, of: networks.Networks, name: str, x: Tensor) -> Tensor:
        """The classes that the classifier of a modality finds."""
        classifier = of.classifiers[int(name[1:]) - 1]
        return torch.cat([classifier(part.to(self.device).clamp(0, 1)).argmax(1).cpu() for part in x.split(BATCH)])

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x, y = {name: test[name] for name in self.names}, test["y"]
        full, of = networks.load(self.device, self.network)
        joint = self._drawn(lambda n: method.sample_joint(len(n)), torch.zeros(len(y)))
        arrays = {f"fd[{full}]": np.array(len(y))}
        for name, (kind, pictures) in itertools.product(self.names, (("real", x), ("fake", joint))):
            mean, covariance = moments_of(self._features(of, name, pictures[name]))
            arrays |= {f"{kind}_{name}_mean": mean, f"{kind}_{name}_covariance": covariance}
        if len(x) > 1:
            found = torch.stack([self._classes(of, name, joint[name]) for name in x], dim=1)
            arrays["joint_hits"] = (found == found[:, :1]).all(1).numpy().astype(np.uint8)
            arrays |= self._coherence(method, of, x, y)
        if isinstance(method, MultimodalLikelihood):
            terms = self._drawn(method.elbo, x)
            arrays |= {f"reconstruction_{name}" if name in x else name: value.numpy() for name, value in terms.items()}
        if isinstance(method, MultimodalEncoder):
            arrays |= self._codes(method, data.valid, test["valid_y"], x, y)
        rows = torch.stack([joint[name][:10] for name in x]).flatten(0, 1)
        given = self._drawn(method.sample_given, {"m1": x["m1"][:10]})
        shown = torch.stack([x["m1"][:10], *(given[name] for name in x)]).flatten(0, 1)
        return Observed(arrays, {"samples": grid(rows, 10), "given_m1": grid(shown, 10)})

    def _coherence(self, method: Any, of: networks.Networks, x: Batch, y: Tensor) -> dict[str, np.ndarray]:
        """``hits_given<k>``: of each example, over all sets of k given modalities, how many of the others show the class; ``given<k>_of``:
        how many there are."""
        arrays: dict[str, np.ndarray] = {}
        for k in range(1, len(x)):
            hits, total = torch.zeros(len(y), dtype=torch.long), 0
            for given in itertools.combinations(x, k):
                drawn = self._drawn(method.sample_given, {name: x[name] for name in given})
                for name in set(x) - set(given):
                    hits += self._classes(of, name, drawn[name]) == y
                    total += 1
            arrays |= {f"hits_given{k}": hits.numpy().astype(np.uint8), f"given{k}_of": np.array(total)}
        return arrays

    def _codes(self, method: Any, valid: Batch, valid_y: Tensor, x: Batch, y: Tensor) -> dict[str, np.ndarray]:
        """``latent_given1``: of each example, by how many modalities' codes its class is told; ``latent_all``, by that of all."""
        found = []
        for given in (*((name,) for name in x), tuple(x)):
            codes = [self._drawn(method.represent_given, {name: part[name] for name in given})["found"] for part in (valid, x)]
            found.append((told(codes[0], valid_y, codes[1]) == y.numpy()).astype(np.uint8))
        return {"latent_given1": np.sum(found[:-1], axis=0, dtype=np.uint8), "latent_all": found[-1], "modalities": np.array(len(x))}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = {name: mean_of(observed[name]) for name in TERMS if name in observed}
        found |= {f"reconstruction/{name[15:]}": mean_of(of) for name, of in observed.items() if name.startswith("reconstruction_")}
        if "joint_hits" in observed:
            found["joint_coherence"] = mean_of(observed["joint_hits"])
            numbers = [name[5:] for name in observed if name.startswith("hits_given")]
            given = {k: mean_of(observed[f"hits_{k}"]) / int(observed[f"{k}_of"]) for k in numbers}
            found |= {f"conditional_coherence/{k}": value for k, value in given.items()}
            found["conditional_coherence/mean"] = float(np.mean(list(given.values())))
        if "latent_all" in observed:
            found["latent_accuracy/given1"] = mean_of(observed["latent_given1"]) / int(observed["modalities"])
            found["latent_accuracy/all"] = mean_of(observed["latent_all"])
        return found | _distances(observed, asked)

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = {name: array for name, array in observed.items() if not name.endswith("_covariance")}
        kept |= {name: array.astype(np.float32) for name, array in kept.items() if name.endswith("_mean")}
        for name, array in observed.items():
            if name.endswith("_covariance"):
                kept |= packed(name.removesuffix("_covariance"), array)
        return kept


def _distances(observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
    """Frechet distances by modality and their mean, under the name of the network."""
    said = next((name for name in observed if name.startswith("fd[")), "")
    names = [name[5:-5] for name in observed if name.startswith("real_") and name.endswith("_mean")]
    if not names:
        return {}
    heads = [f"{said[:-1]},n={int(observed[said])}]"] if said else {key.split("/")[0] for key in asked or () if parse(key).name == "fd"}
    all_of = {**observed, **unpacked(observed, [f"{kind}_{name}" for kind in ("real", "fake") for name in names])}
    parts = [f"{kind}_{{}}_{part}" for kind in ("real", "fake") for part in ("mean", "covariance")]
    by = {name: frechet_distance(*(all_of[part.format(name)] for part in parts)) for name in names}
    return {f"{head}/{name}": value for head in heads for name, value in {"mean": float(np.mean(list(by.values()))), **by}.items()}


def told(codes: Tensor, y: Tensor, others: Tensor) -> np.ndarray:
    """Classes of the codes ``others`` by multinomial logistic regression on standardised ``codes`` (N, L) of classes ``y`` (N,)."""
    from sklearn.linear_model import LogisticRegression

    mean, std = codes.mean(0), codes.std(0).clamp(min=1e-6)
    fitted = LogisticRegression(max_iter=1000).fit(((codes - mean) / std).numpy(), y.numpy())
    return fitted.predict(((others - mean) / std).numpy())
