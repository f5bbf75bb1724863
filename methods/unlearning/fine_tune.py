"""Fine-tuning on what remains (baseline of Golatkar, Achille and Soatto 2020).

    L = - sum_{i in D_r} log softmax head(g(x_i))_{y_i} / |D_r|   over a batch, from the original model's weights on

Nothing pushes what is to be forgotten away: it is left to catastrophic forgetting.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.unlearning.base import Unlearning

CARD = MethodCard(
    name="fine-tune",
    title="Fine-tuning on what remains",
    family="unlearning",
    home="unlearning/mnist",
    cite="Golatkar et al. 2020",
    bases={"original": {"method": "original"}},
    defaults="convention",
)


class FineTune(Unlearning):
    """Labels of what remains are seen."""

    def chosen(self, batch: Batch) -> Tensor:
        return ~batch["forget"]
