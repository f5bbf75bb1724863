"""Unlearning: a trained classifier that is to become what it would be without some of its training examples."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from elboard.bench.kinds.classification import ClassSpec, Predictor
from elboard.bench.metrics.conventions import share


@dataclass(frozen=True, kw_only=True)
class ForgetSpec(ClassSpec):
    """Batches hold ``forget`` (B,), whether an example is to be forgotten, beside ``x`` and the given labels ``y``.

    Attributes:
        n_forget: how many of the training examples are to be forgotten.
    """

    n_forget: int


class Unlearner(Predictor):
    """Predicts as if the examples that are to be ``forget`` had never been there, or is what such a one starts from.

    No :class:`Classifier`, whose boards know of nothing that is to be forgotten.
    """

    @property
    @abstractmethod
    def retrained(self) -> Predictor:
        """The model that was trained without those examples from the start: what it is judged by, and nothing that it may learn from."""


class RetrainingOracle(Unlearner):
    """Never saw what is to be forgotten, which others have to undo: it is the reference itself, and its card says so (``oracle``)."""

    @property
    def retrained(self) -> Predictor:
        return self


_OF = "the target is the value of the model retrained without them, not 0 or 1"
METRICS = (
    share("remaining_accuracy", "accuracy on examples that are not to be forgotten", "higher", "slice: train, or test"),
    share("forget_accuracy", "accuracy on examples that are to be forgotten", "none", f"by the given labels; slice: train, or test; {_OF}"),
    share("attack_success", "examples to be forgotten that an attack takes for training examples", "none", _OF),
    share(
        "retrain_gap",
        "distance from the model retrained without what is to be forgotten",
        "lower",
        "mean absolute difference of the accuracies and of the attack's success, slice: of one of them; the model has the same seed: "
        "two of other seeds are not at 0 either",
    ),
)
