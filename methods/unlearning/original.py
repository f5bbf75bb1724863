"""The model that is to forget: trained on all examples, those to be forgotten among them.

    L = - (1/B) sum_i log softmax head(g(x_i))_{y_i}

Methods of unlearning start from a finished run of it. The run ``retrained`` that it names is what they and it are judged by; nothing of it
enters the training. Length and options of the training: Adam with the weight decay of Shen et al. 2024.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.bench.kinds.classification import Predictor
from elboard.methods.unlearning.base import Network

CARD = MethodCard(
    name="original",
    title="The model before unlearning",
    family="unlearning",
    home="unlearning/mnist",
    cite="textbook; Shen et al. 2024",
    bases={"retrained": {"method": "retrain"}},
    defaults="convention",
)


class Original(Network):
    """The shared network."""

    @property
    def retrained(self) -> Predictor:
        return self.base
