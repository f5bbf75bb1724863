"""Maximum likelihood: the point estimate that Bayesian and post-hoc methods are compared with.

    L = - (1/B) sum_i log softmax(W f(x_i) + b)_{y_i}

On corrupted labels, which it takes as they are given, it learns the frequent pattern first and memorises the wrong ones later (Zhang et al.
2017, Arpit et al. 2017), so that its clean accuracy rises and then falls; there it is known as plain cross-entropy, and with
``train.keep=best`` as early stopping, by labels as noisy as those of training.

With ``dropout`` it is trained under random masks and predicts without them, which is ordinary dropout (Srivastava et al. 2014).

Its out-of-distribution score is one minus the largest probability; the post-hoc methods of ``methods/ood`` start from a finished run of it.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.bench.kinds.ood import FeatureScorer
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.low_rank import WholeNetwork
from elboard.methods.parts.masks import MaskedPasses
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="softmax",
    title="Maximum likelihood with a softmax layer",
    family="bayesian",
    home="calibration/mnist",
    cite="textbook; score: Hendrycks and Gimpel 2017",
    aliases=("cross-entropy",),
    splits=True,
    defaults="convention",
)


class Softmax(ClassifierMethod, MaskedPasses, MaximumProbability, FeatureScorer, WholeNetwork):
    """The shared classifier, unchanged."""
