"""Several modalities of one thing: generated together, and each given any of the others.

A batch holds modalities by name, ``{"m1": (B, *shape), "m2": ...}``, in data units; what is given is a batch with some of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Modality:
    """One modality: its name in batches, and the shape of an example of it."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class MultimodalSpec(LikelihoodSpec):
    """Examples of several modalities, all of one likelihood; ``shape`` is that of the first.

    Attributes:
        modalities: in the order in which a row of a mask names them.
        scale: of the likelihood where it is held fixed, the same for all modalities and methods: weights between modalities would move
            their Frechet distances.
    """

    modalities: tuple[Modality, ...]
    scale: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)


class MultimodalGenerator(ABC):
    """Draws all modalities, jointly or given any of them."""

    @abstractmethod
    def sample_joint(self, n: int) -> dict[str, Tensor]:
        """``n`` examples of all modalities, each ``(n, *shape)``, in data units (means of the likelihood where there is one)."""

    @abstractmethod
    def sample_given(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One example of all modalities for each row of ``given``, which has at least one; those given are drawn again."""


class MultimodalLikelihood(ABC):
    """Bounds the joint likelihood of all modalities, in nats per example."""

    @abstractmethod
    def elbo(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``{"elbo", "kl", "reconstruction"}`` of log p(x_1 .. x_M), elbo = -reconstruction - kl, and under the name of each modality its
        share of the reconstruction; each ``(B,)``."""


class MultimodalEncoder(ABC):
    """Has one code for any set of modalities."""

    @abstractmethod
    def represent_given(self, given: Mapping[str, Tensor]) -> Tensor:
        """The code ``(B, L)`` of each row of ``given``; where it is random its mean, of one component where that is a mixture."""


@dataclass(frozen=True)
class Bits:
    """The law of a shared fair bit s and a private one u_m of each modality: x_m = (s, u_m repeated ``private`` times).

    Attributes:
        modalities: M.
        private: D, the number of pixels that show u_m; 0: the modalities are equal.
        states: of the code.
    """

    modalities: int
    private: int
    states: int

    @property
    def name(self) -> str:
        return f"m{self.modalities}-d{self.private}"


@dataclass(frozen=True, kw_only=True)
class BitsSpec(DataSpec):
    """A law for each of ``cases``; the tables of equally likely examples, ``(X, M, D + 1)`` of 0 and 1, are shared data by its name."""

    cases: tuple[Bits, ...]


@dataclass(frozen=True)
class Table:
    """A model with a code of K states, of examples with P pixels in all, and its encoders; float64.

    Attributes:
        prior: p(z), ``(K,)``.
        pixels: of each state the probability that a pixel is 1, ``(K, P)``.
        subsets: which modalities each encoder sees, ``(S, M)`` of bool.
        posteriors: q_A(z|x_A), ``(S, X, K)``.
    """

    prior: Tensor
    pixels: Tensor
    subsets: Tensor
    posteriors: Tensor


class TabularMixture(ABC):
    """Mixture-based multimodal autoencoders of which everything is a table."""

    @abstractmethod
    def table(self, case: Bits) -> Table:
        """The fitted model of one of the laws of the :class:`BitsSpec`."""


METRICS = (
    share("joint_coherence", "joint samples all of whose modalities show one class", "higher", "by a classifier of each modality"),
    share(
        "conditional_coherence",
        "modalities generated given others that show their class",
        "higher",
        "by a classifier of each modality; mean over sets of as many given ones, and over what these leave",
    ),
    share("latent_accuracy", "classes told from the code", "higher", "multinomial logistic regression on codes of validation examples"),
    Convention("tabular_elbo", "best mixture-based bound", "bits", "higher", high=0.0, note="exact, of the best restart"),
    Convention("tabular_gap", "-H(X) minus the best mixture-based bound", "bits", "lower", 0.0, note="exact, of the best restart"),
    Convention(
        "tabular_slack", "unseen information's bound minus the reconstruction", "bits", "none", note="least over laws; never below 0"
    ),
    Convention("gap_step", "least growth of the gap from one law to the next", "bits", "none", note="of two modalities and more"),
)
