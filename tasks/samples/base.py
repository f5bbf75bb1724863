"""Samples of images: how near they come to the data for a feature network, whatever draws them.

Grey training images (cross-entropy or a discrete distribution of grey levels for what has a likelihood); no likelihood is asked for, so
that autoencoders, adversarial and diffusion models stand beside each other. A model of ``generation/*`` is not trained again: the method
``trained`` starts from its run. Splits are those of ``generation/*``.

* ``fd``, ``kid``, ``gen_precision``, ``gen_recall`` of features of n samples and of the grey test images, as in ``generation/*``.
* ``mse``, ``prior_mmd2``, ``model_size`` and ``sample_flops``: :mod:`elboard.tasks.parts.beside`.
* ``code_perplexity[n=...]`` of the codes of the n test images, for methods with a codebook.
* Selection: the Frechet distance of 500 samples from the validation images, always in the task's own network.

Evidence: means, standard deviations and correlations of the features, these in 16 bits, and under the name of distance and network the
number of samples; how often each code is used. Kernel distance, precision and recall need the features themselves: only running the method
again checks them.

Batches carry ``index``, the number of the training example, for methods that keep something for each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Sets
from elboard.bench.kinds.codebooks import DiscreteCodes
from elboard.bench.metrics.codes import code_perplexity
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.task import DataTask, images
from elboard.tasks.parts import features
from elboard.tasks.parts.beside import beside, kept, measured
from elboard.tasks.parts.images import Generation, distances
from elboard.tasks.parts.moments import packed, unpacked

SELECT_N = 500
PARTS = ("mean", "deviation", "correlation")


class Samples(Generation):
    """The family's protocol; a subclass gives ``bernoulli``, ``network`` and the images."""

    sets: ClassVar[Sets] = {}
    _valid: tuple[np.ndarray, np.ndarray] | None = None  # moments of the validation images, which are the same in each epoch
    # Correlations in 16 bits.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"fid": (2e-2, 0.0), "fd": (2e-2, 0.0)}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 50_000
        n_valid: Count = 10_000
        n_test: Count = 10_000
        samples: Count = 10_000
        network: Literal[  # another feature network than the task's
            "", "mnist-cnn", "fashion-cnn", "digits-cnn", "sprites-cnn", "inception-2015", "efficientnet-lite0"
        ] = ""  # fmt: skip

    def load_train(self) -> Data:
        spec, train, valid = self.grey()
        return Data(spec, {"x": train, "index": torch.arange(len(train))}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": images(self._source("test")[: self.config.n_test], self.levels)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        if self._valid is None:
            self._valid = self._moments(data.valid["x"])
        fake = method.sample(min(SELECT_N, len(data.valid["x"]))).cpu().clamp(0, 1)
        return {self.card.selection: frechet_distance(*self._valid, *self._moments(fake))}

    def _moments(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the features of ``x`` for the task's own network."""
        _, _, of = features.load(self.network, self.device)
        f = self._map(lambda part: {"f": of(part)}, x)["f"].astype(np.float64)
        return f.mean(0), np.cov(f, rowvar=False)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen = self._samples(method, test["x"])
        seen.arrays |= beside(method, test["x"], self.device)
        if isinstance(method, DiscreteCodes):
            found = self._map(lambda part: {"k": method.indices(part)}, test["x"])["k"].astype(np.int64)
            counts = np.bincount(found.ravel(), minlength=method.n_codes)
            seen.arrays |= {"code_counts": counts.astype(np.uint32), "code_examples": np.array(len(found))}
        return seen

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = measured(observed) | distances({**observed, **unpacked(observed, ("real", "fake"))}, asked)
        if "code_counts" in observed:
            found[f"code_perplexity[n={int(observed['code_examples'])}]"] = code_perplexity(observed["code_counts"])
        return found

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        small = {name: array for name, array in kept(observed).items() if not name.endswith(("_features", "_covariance"))}
        for of in ("real", "fake"):
            if f"{of}_covariance" in observed:
                small |= {f"{of}_mean": observed[f"{of}_mean"].astype(np.float32), **packed(of, observed[f"{of}_covariance"])}
        return small

    @classmethod
    def compact(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Without the moments where they are of so many features that they do not fit."""
        small = cls.rounded(observed)
        if sum(array.nbytes for array in small.values()) > 15_000:
            small = {name: array for name, array in small.items() if not name.startswith(("real_", "fake_"))}
        return small
