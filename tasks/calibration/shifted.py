"""A trained classifier on shifted test images: how right and how calibrated it stays, by the kind of shift and by its severity.

Protocol, common to ``calibration/*-shifted`` and ``calibration/*-corrupted``:

* Nothing is trained: what is asked are the predictions of a run of the task of the same images that its method's card names, and the
  training images, test images and draws are that task's.
* ``n_shift`` of the test images, evenly spaced, are shown clean and under each of the task's kinds of :mod:`elboard.tasks.parts.shifts` at
  each of its five severities; all methods see the same images. ``-shifted`` has eight kinds, from rotation to occlusion; ``-corrupted``
  the five that leave everything where it is: noise, blur, contrast, brightness and pixelation.
* accuracy, class_nll, ece: of the clean ones without a slice; ``accuracy/rotation-3`` of one kind and severity, ``accuracy/rotation`` the
  mean of the five, ``accuracy/shifted`` the mean over kinds.
* Of a base that draws its masks by a learned sampler also ``reward_correlation`` and ``posterior_correlation``, over ``n_masks`` masks for
  each of ``n_fit`` training images, which are what the sampler was trained for.

Evidence: of each kind and severity the sums that the metrics are of; the correlations of each image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from elboard.bench.evidence import Sets
from elboard.bench.kinds.masks import MaskSampler
from elboard.bench.metrics.calibration import BINS, accuracy, binned_error, class_nll, top_gaps
from elboard.bench.metrics.masks import correlation
from elboard.bench.options import Count, Range
from elboard.bench.task import EXACT, Data, Observed, Test
from elboard.tasks.calibration.base import Calibration
from elboard.tasks.parts.shifts import CORRUPTIONS, KINDS, SEVERITIES, Kinds, shifted, spread

BUDGETS = {
    "smoke": {
        "train": {"epochs": 1, "batch_size": 50},
        "task": {
            "n_train": 400,
            "n_valid": 100,
            "n_test": 200,
            "n_shift": 20,
            "n_samples": 4,
            "valid_samples": 2,
            "n_masks": 8,
            "n_fit": 10,
        },
    },
    "lite": {
        "train": {"epochs": 1, "batch_size": 50},
        "task": {"n_train": 5000, "n_valid": 1000, "n_test": 5000, "n_shift": 250, "n_samples": 16, "valid_samples": 4},
    },
    "full": {"train": {"epochs": 1, "batch_size": 50}},
}


class Shifted(Calibration):
    """The protocol; a subclass gives the images, which are those of the task that the classifier was trained on.

    Attributes:
        kinds: the shifts that images are shown under.
    """

    sets: ClassVar[Sets] = {}
    kinds: ClassVar[Kinds] = KINDS

    @dataclass(kw_only=True)
    class Config(Calibration.Config):
        n_masks: Annotated[int, Range(3)] = 64  # drawn by a sampler for each image
        n_fit: Count = 50  # training images

    def _shown(self, test: Test) -> dict[str, np.ndarray]:
        few = spread(len(test["y"]), self.config.n_shift)
        return {"x": test["x"][few], "y": test["y"][few].numpy()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        shown, n = self._shown(test), self.config.n_samples

        def sums(x: Any) -> np.ndarray:
            return _sums(self.probabilities(method, x, n), shown["y"])

        at = [[sums(shifted(shown["x"], kind, severity + 1, self.kinds)) for severity in range(SEVERITIES)] for kind in self.kinds]
        arrays = {"clean": sums(shown["x"]), "shifted": np.array(at), "n": np.array(len(shown["y"]))}
        return Observed(arrays | self._rewards(method.finished, data))

    def _rewards(self, sampler: Any, data: Data) -> dict[str, np.ndarray]:
        if not isinstance(sampler, MaskSampler):
            return {}
        batch = {name: value[: self.config.n_fit].to(self.device) for name, value in data.train.items()}
        log_q, log_p, log_likelihood = (of.double().cpu().numpy() for of in sampler.rewards(batch, self.config.n_masks))
        return {
            "reward_correlation": correlation(log_q, log_p + log_likelihood),
            "posterior_correlation": correlation(log_q - log_p, log_likelihood),
        }

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        n = int(observed["n"])
        found = _scores(observed["clean"], n)
        cells = [[_scores(of, n) for of in kind] for kind in observed["shifted"]]
        for name in tuple(found):
            means = []
            for kind, scores in zip(cls.kinds, cells, strict=True):
                values = [of[name] for of in scores]
                found |= {f"{name}/{kind}-{i}": value for i, value in enumerate(values, 1)}
                means.append(float(np.mean(values)))
                found[f"{name}/{kind}"] = means[-1]
            found[f"{name}/shifted"] = float(np.mean(means))
        return found | {name: float(of.mean()) for name, of in observed.items() if name.endswith("_correlation")}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(observed)

    @classmethod
    def tolerance(cls, metric: str, evidence: Mapping[str, np.ndarray]) -> float:
        return EXACT


class Corrupted(Shifted):
    """The protocol with the kinds of corruption that leave everything where it is."""

    kinds = CORRUPTIONS


def _sums(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Hits, negative log likelihood and the gaps of each bin, ``(2 + BINS,)``, summed over the images."""
    p = p.astype(np.float64)
    return np.array([accuracy(p, y) * len(y), class_nll(p, y) * len(y), *top_gaps(p, y)])


def _scores(sums: np.ndarray, n: int) -> dict[str, float]:
    if sums.shape != (2 + BINS,) or n < 1:
        raise ValueError(f"sums of shape {sums.shape} of {n} images")
    return {"accuracy": float(sums[0] / n), "class_nll": float(sums[1] / n), "ece": binned_error(sums[2:], n)}
