"""Conditional contrastive adversarial domain bottleneck (Ruan, Dubois and Maddison 2022, section 4.2).

    B = -mean_i log [ sum_{j: y_j = y_i, d_j != d_i} e^(z_i . z_j / tau)  /  sum_{j: y_j = y_i, j != i} e^(z_i . z_j / tau) ]

CAD among images of one class, which lowers I(Z; D | Y): where the shares of classes differ between domains, codes of one law in all
domains could not tell classes. An image without another of its class in another domain is left out of the mean.

Differences from the paper: those of CAD; an image without a label has the class that the present classifier gives it
(``predicted``), where the paper's idealised setting has the labels of all domains for the bottleneck; without ``predicted`` it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.domains.cad import CAD

CARD = MethodCard(
    name="cond-cad",
    title="Conditional contrastive adversarial domain bottleneck",
    family="domains",
    home="domains/rotated-mnist",
    paper="057",
    cite="Ruan, Dubois and Maddison 2022",
    defaults="convention",
)


class ConditionalCAD(CAD):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(CAD.Config):
        predicted: bool = True

    def candidates(self, logits: Tensor, batch: Batch) -> Tensor:
        y = batch["y"]
        if self.config.predicted:
            y = logits.argmax(1).where(y < 0, y)
        return super().candidates(logits, batch) & (y[:, None] == y) & (y >= 0)
