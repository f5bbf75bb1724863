"""Plain training: the baseline of learning with corrupted labels.

    L = - (1/B) sum_i log p(y_i | x_i)

on the labels as they are given. It learns the frequent pattern first and memorises the wrong labels later (Zhang et al. 2017, Arpit et
al. 2017), so that its clean accuracy rises and then falls.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.nets.classifier import ClassifierMethod

CARD = MethodCard(
    name="cross-entropy",
    title="Maximum likelihood on the given labels",
    family="noisy",
    home="noisy/digits-sym40",
    offers=("Classifier",),
    cite="textbook; memorisation: Zhang et al. 2017",
    splits=True,
)


class CrossEntropy(ClassifierMethod):
    """The shared classifier, unchanged."""
