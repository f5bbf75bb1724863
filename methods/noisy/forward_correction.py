"""Forward correction of the loss (Patrini, Rozza, Menon, Nock and Qu 2017, theorem 2).

    L(x, y) = - log (T' p(x))_y = - log sum_i T_iy p_i(x),   T_ij = P(given = j | true = i)

The network's probabilities are of the true label; behind T they explain the given one, so that the minimiser is the same as with clean
labels. T is estimated by anchors (theorem 3): of a first network p~, trained by cross-entropy on the given labels,

    x^i = argmax_x p~(given = i | x),   T_ij = p~(given = j | x^i),

with the 97 % quantile in the place of the maximum, which outliers spoil. Nothing else is known of the noise.

Differences from the paper: the shared backbone and Adam at a constant rate. The first network is that of the epoch that is best by noisy
validation: later ones have learned wrong labels by heart, and T is then close to the identity (``base.train.keep=last``). With it a run
trains twice as long as cross-entropy alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.methods.noisy.transition import Corrected

CARD = MethodCard(
    name="forward-correction",
    title="Forward correction by an estimated transition matrix",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Patrini et al. 2017",
    bases={"first": {"method": "softmax", "set": {"train.keep": "best"}}},
    splits=True,
    defaults="paper",
)


class ForwardCorrection(Corrected):
    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        log_t = self.transition.clamp(min=torch.finfo(torch.float32).tiny).log()  # a zero without infinite gradients
        return -(logits.log_softmax(1) + log_t.t()[y]).logsumexp(1)
