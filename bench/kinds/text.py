"""Sequences of tokens of a small alphabet: models of their probability, exact or by a bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor

Order = Literal["random", "top", "margin"]  # what is filled first: anything, the most probable, or the furthest ahead of the second one
# tokens (B, L) of 0 to K - 1, and K where one is masked, to log-probabilities (B, L, K) of those that are; or booleans (B, L, K) of the
# tokens that each may still be, where one may be known in part
Predictor = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class TokenSpec(DataSpec):
    """Sequences of ``shape`` (L,) of the numbers 0 to ``letters`` - 1, int64; batches hold them as ``x`` (B, L).

    ``image``: rows and columns, where the sequence is an image row by row and its tokens are levels of grey.
    """

    letters: int
    image: tuple[int, int] | None = None


class TokenModel(ABC):
    """Gives sequences of tokens a probability, and draws them.

    Attributes:
        exact: whether :meth:`nats` are -log p(x); else their mean is no less.
    """

    exact: bool = False

    @abstractmethod
    def nats(self, x: Tensor, draws: int) -> Tensor:
        """``(B, draws)`` estimates, unbiased, of the negative bound on log p of ``x`` (B, L); where ``exact`` -log p itself, ``(B, 1)``."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """``n`` new sequences, ``(n, L)`` int64."""


class SteppedTokens(ABC):
    """Draws sequences in as many steps as are paid for, each one evaluation of the network, of which some may change nothing."""

    @abstractmethod
    def sample_in(self, n: int, steps: int) -> tuple[Tensor, Tensor]:
        """``n`` new sequences ``(n, L)`` int64, and the share ``(n,)`` of the steps in which nothing of a sequence changed."""


class TokenFiller(ABC):
    """Fills masked tokens, several at a time."""

    @abstractmethod
    def fill(self, z: Tensor, steps: int, order: Order, blocks: int = 1) -> Tensor:
        """``z`` (B, L), of numbers 0 to K - 1 and K where one is masked, without masks: in ``steps`` evaluations of the network, each of
        which fills as many of those that are left as the others. What is seen stays. ``blocks`` even parts are filled one after the other,
        in as many of the steps each."""


class MaskedBound(ABC):
    """A process that masks tokens and one that reveals them, with any predictor that does not see the time; of short sequences, of which
    all sets of masked positions are looked at and nothing is drawn."""

    @abstractmethod
    def bound_moments(self, predict: Predictor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Negative bound on log p of ``x`` (B, L), and standard deviation of its estimate from one time and one set of masks, nats (B,)."""

    @abstractmethod
    def under_schedules(self, predict: Predictor, x: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`bound_moments` on each of S schedules of masking, ``(B, S)``."""

    @abstractmethod
    def log_mass(self, predict: Predictor, x: Tensor) -> Tensor:
        """log p(x) (B,) of the process that reveals, in nats."""


class PublishedLoss(ABC):
    """Is trained on a loss that was published as a negative bound on log p, and need not be one."""

    @abstractmethod
    def published_loss(self, predict: Predictor, x: Tensor) -> Tensor:
        """That loss of ``x`` (B, L), nats (B,), by enumeration."""


METRICS = (
    Convention(
        "bits_per_char",
        "bits a character",
        "bits",
        "lower",
        0.0,
        note="of a window by itself, without what stands before it; ``exact``: -log2 p; ``bound``: an upper bound on that",
        of=("bound", "exact"),
    ),
    Convention(
        "bits_sd", "standard deviation of one draw of the bound", "bits", "lower", 0.0, note="a character; within windows, mean of them"
    ),
    Convention(
        "trigram_excess",
        "bits a character of samples above those of text, by trigrams",
        "bits",
        "none",
        note="by a fixed interpolated model of the training text; 0 of text itself, below 0 of samples that repeat what is frequent",
    ),
    Convention("nelbo", "negative evidence lower bound", "nats", "lower", 0.0, note="a sequence, mean over the law of the data"),
    Convention("nelbo_sd", "standard deviation of one draw of the bound", "nats", "lower", 0.0, note="within sequences, mean over the law"),
    Convention(
        "bound_excess", "bound minus the entropy of the data", "nats", "lower", note="with the law's own conditionals as the predictor"
    ),
    Convention(
        "published_excess",
        "published loss minus the entropy of the data",
        "nats",
        "none",
        note="with the law's own conditionals as the predictor; below 0 it is no bound",
    ),
    share("valid_share", "share of samples that are possible", "higher", "in the support of the data's law, or obey the rules"),
    share("solved_share", "share of puzzles that are solved", "higher", "filled by the rules, what was given kept"),
    Convention(
        "law_kl",
        "KL(data || samples)",
        "nats",
        "lower",
        0.0,
        note="frequencies among samples, of which what was never drawn counts as half a time",
    ),
    share("idle_share", "share of sampling steps that change nothing", "lower", "of a sequence; mean over samples"),
    Convention(
        "schedule_spread",
        "largest difference of bounds of two schedules",
        "nats",
        "lower",
        0.0,
        note="over all sequences",
    ),
    Convention("sd_ratio", "largest deviation of one draw over the least, over schedules", "", "none", 1.0, note="of means over the law"),
    Convention("least_gap", "least of log p minus the bound", "nats", "none", note="over all sequences; below 0 it were no bound"),
)
