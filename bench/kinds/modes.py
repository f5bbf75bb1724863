"""Generators of separate modes: how much of their mass lies between modes, and what the cells of their latent space look like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Modes:
    """One generator of a run: of ``modes`` equal modes in as many dimensions, from a Gaussian of ``latent`` dimensions."""

    modes: int
    latent: int


@dataclass(frozen=True, kw_only=True)
class ModesSpec(DataSpec):
    """A generator for each of ``fits``. Tensors ``(F, N, D)`` and ``(F, N, Z)`` have the dimensions of the largest; what is beyond a fit's
    own is 0."""

    fits: tuple[Modes, ...]


class ModeGenerators(ABC):
    """A push-forward generator for each fit of a :class:`ModesSpec`."""

    @abstractmethod
    def latents(self, n: int) -> Tensor:
        """``n`` latents of each, ``(F, n, Z)``, from the law that it samples from."""

    @abstractmethod
    def generate(self, z: Tensor) -> Tensor:
        """Latents ``(F, N, Z)`` to examples ``(F, N, D)``."""


_LAW = "share of the variance over m of the log share on modes; latent 2 m"
METRICS = (
    share("on_mode", "samples on a mode", "higher", "within three standard deviations of a mode: precision"),
    share("mode_recall", "overlap of the modes' shares with equal ones", "higher", "sum over modes of min(p, 1 / m), of samples on modes"),
    Convention("on_mode_trend", "Kendall's tau of the share on modes and the number of modes", "", "none", -1.0, 1.0, note="latent 2 m"),
    Convention("on_mode_law", "explained by exp(-c sqrt(log m)), for the best c", "", "higher", high=1.0, note=_LAW),
    Convention("on_mode_bubbles", "explained by simplicial clusters with a band, for its best width", "", "higher", high=1.0, note=_LAW),
    Convention("on_mode_drop", "share on modes with m - 1 latent dimensions minus that with 2", "", "none", -1.0, 1.0, note="mean over m"),
    Convention("linear_gain", "accuracy of logistic regression of the mode, above the largest mode's share", "", "higher", -1.0, 1.0),
    share("convex", "points between two latents of one mode that give it too", "higher", "at a quarter, a half and three quarters"),
)
