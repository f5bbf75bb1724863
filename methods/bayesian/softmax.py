"""Maximum likelihood: the point estimate that Bayesian and post-hoc methods are compared with.

    L = - (1/B) sum_i log softmax(W f(x_i) + b)_{y_i}

Its out-of-distribution score is one minus the largest probability; the post-hoc methods of ``methods/ood`` start from a finished run of it.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.nets.classifier import ClassifierMethod

CARD = MethodCard(
    name="softmax",
    title="Maximum likelihood with a softmax layer",
    family="bayesian",
    home="calibration/mnist",
    offers=("Classifier", "OODScorer"),
    cite="textbook; score: Hendrycks and Gimpel 2017",
    splits=True,
)


class Softmax(ClassifierMethod):
    """The shared classifier, unchanged."""
