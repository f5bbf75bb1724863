"""Fine-tuning: maximum likelihood on each task in turn, with nothing against forgetting (McCloskey and Cohen 1989).

    L_k = - (1/B) sum_i log softmax f(x_i)_{y_i},    examples of task k alone, from the weights that task k - 1 left

What every method against forgetting has to beat. Weights and the state of the optimiser go on from task to task.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.continual.base import Network

CARD = MethodCard(
    name="fine-tuning",
    title="Maximum likelihood on one task after the other",
    family="continual",
    home="continual/permuted-mnist",
    cite="McCloskey and Cohen 1989",
    splits=True,
    defaults="convention",
)


class FineTuning(Network):
    """The shared network, unchanged."""
