"""Statistics that accumulate over batches and processes: :class:`torchmetrics.Metric` classes, for anybody's Lightning code.

States are in double precision, of a size that does not depend on the number of examples, and those of parts of the data give that of the
whole: one process and several agree but for the order of summation. The formulae are those of the functions beside this module, which
take batches as NumPy arrays; moments alone are taken where the metric lies.

What needs all examples at once is not here: detection (AUROC, average precision, FPR at 95 %), adaptive calibration error, kernel
distance, precision and recall of samples, mutual information.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from elboard.bench.metrics.calibration import BINS, binned_error, class_gaps, top_gaps
from elboard.bench.metrics.codes import code_perplexity
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.metrics.likelihood import ACTIVE


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    values = torch.as_tensor(values).detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16


class _Sums(Metric):
    """Adds up :meth:`of` over the batches, and their numbers of examples.

    Args:
        what: is added up. Metrics of a collection whose states have the same names, and after one batch the same values, share them from
            then on: sums of something else need another name.
    """

    full_state_update = False
    n: Tensor

    def __init__(self, what: str, *shape: int, **options: Any):
        super().__init__(**options)
        self.state = f"sums of {what}"
        self.add_state(self.state, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def sums(self) -> Tensor:
        return getattr(self, self.state)

    def of(self, *arrays: np.ndarray) -> np.ndarray | float:
        """What the examples of a batch add, of the shape that the metric was made for."""
        raise NotImplementedError

    def update(self, *values: Tensor | np.ndarray) -> None:
        """Take in a batch: arrays or tensors with one leading dimension. Raises ValueError where they are not what was announced."""
        arrays = [_array(of) for of in values]
        if not len(arrays[0]):
            return
        found = torch.as_tensor(self.of(*arrays), dtype=torch.float64)
        if found.shape != self.sums.shape:
            raise ValueError(f"{type(self).__name__} was made for sums of shape {tuple(self.sums.shape)}, not {tuple(found.shape)}")
        setattr(self, self.state, self.sums + found.to(self.sums.device))
        self.n = self.n + len(arrays[0])


class ExampleMean(_Sums):
    """Mean over all examples of what is a mean over examples.

    Args:
        score: such a function of arrays, one's own or one of :mod:`elboard.bench.metrics.calibration`: ``accuracy``, ``class_nll``,
            ``brier``, ``entropy``. In a collection each has its own name.
    """

    def __init__(self, score: Callable[..., float], **options: Any):
        super().__init__(getattr(score, "__qualname__", repr(score)), **options)
        self.score = score

    def of(self, *arrays: np.ndarray) -> float:
        return self.score(*arrays) * len(arrays[0])

    def compute(self) -> Tensor:
        return self.sums / self.n


class CalibrationError(_Sums):
    """``ece`` of probabilities ``(B, C)`` and classes ``(B,)``, in ``bins`` of equal width."""

    def __init__(self, bins: int = BINS, **options: Any):
        super().__init__("gaps", bins, **options)

    def of(self, p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return top_gaps(p, y, self.sums.shape[-1])

    def compute(self) -> Tensor:
        return torch.tensor(binned_error(self.sums.cpu().numpy(), int(self.n)), dtype=torch.float64, device=self.device)


class ClasswiseCalibrationError(CalibrationError):
    """``classwise_ece`` of the same, of ``n_classes`` classes."""

    def __init__(self, n_classes: int, bins: int = BINS, **options: Any):
        super(CalibrationError, self).__init__("gaps", n_classes, bins, **options)

    def of(self, p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return class_gaps(p, y, self.sums.shape[-1])


class CodePerplexity(_Sums):
    """``code_perplexity`` of codes 0 to ``n_codes - 1``, of any shape."""

    def __init__(self, n_codes: int, **options: Any):
        super().__init__("codes", n_codes, **options)

    def of(self, codes: np.ndarray) -> np.ndarray:
        return np.bincount(codes.ravel(), minlength=len(self.sums))

    def compute(self) -> Tensor:
        return torch.tensor(code_perplexity(self.sums.cpu().numpy()), dtype=torch.float64, device=self.device)


def _merged(parts: Tensor) -> Tensor:
    """The moments of all of ``parts`` (P, 2 + D, D): number of rows (in each place), mean, and scatter about it (Chan, Golub and LeVeque
    1979: stable, which sums of squares are not)."""
    n, mean = parts[:, :1, :], parts[:, 1:2, :]
    whole = n.sum(0)
    centre = (n * mean).sum(0) / whole.clamp(min=1)
    away = (mean - centre)[:, 0]
    return torch.cat([whole, centre, parts[:, 2:].sum(0) + (n[:, 0] * away).T @ away])


class Moments(Metric):
    """Mean ``(D,)`` and covariance ``(D, D)``, with denominator n - 1, of rows ``(B, D)`` of ``features`` D."""

    full_state_update = False
    moments: Tensor

    def __init__(self, features: int, **options: Any):
        super().__init__(**options)
        self.add_state("moments", torch.zeros(2 + features, features, dtype=torch.float64), dist_reduce_fx=_merged)

    def update(self, rows: Tensor) -> None:
        """Take in rows. Raises ValueError for another number of features."""
        if rows.ndim != 2 or rows.shape[1] != self.moments.shape[1]:
            raise ValueError(f"{type(self).__name__} was made for rows of {self.moments.shape[1]}, not for {tuple(rows.shape)}")
        if not len(rows):
            return
        rows = rows.to(self.moments)
        mean = rows.mean(0, keepdim=True)
        scatter = (rows - mean).T @ (rows - mean)
        new = torch.cat([torch.full_like(mean, len(rows)), mean, scatter])
        self.moments = _merged(torch.stack([self.moments, new]))

    def compute(self) -> Any:
        return self.moments[1], self.moments[2:] / (self.moments[0, 0] - 1)


class FrechetDistance(Moments):
    """Frechet distance of features from those of which ``mean`` and ``covariance`` are given, of :class:`Moments` say."""

    def __init__(self, mean: Tensor | np.ndarray, covariance: Tensor | np.ndarray, **options: Any):
        super().__init__(len(mean), **options)
        self.reference = _array(mean), _array(covariance)

    def compute(self) -> Tensor:
        return torch.tensor(frechet_distance(*self.reference, *map(_array, super().compute())), dtype=torch.float64, device=self.device)


class ActiveUnits(Moments):
    """``active_units`` of posterior means ``(B, Z)`` of ``units`` Z: how many have a variance over examples above ``threshold``."""

    def __init__(self, units: int, threshold: float = ACTIVE, **options: Any):
        super().__init__(units, **options)
        self.threshold = threshold

    def compute(self) -> Tensor:
        return (self.moments[2:].diagonal() / self.moments[0] > self.threshold).sum()
