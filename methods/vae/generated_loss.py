"""The generated loss of variational autoencoders over the weight of the KL term (Chou 2019).

    l_beta(x) = -E_q(z|x)[log p(x|z)] + beta KL(q(z|x) || N(0, I)),    trained on images x
    G_beta    = E_{z ~ N(0, I)} l_beta(D(z)),                          the loss of the model's own samples
    x_{t+1}   = D(mu(x_t)),                                            repeated encoding and decoding

The training is that of a beta-VAE for each weight; what is of the paper is measured by the task ``reencoding/mnist``: no gradient goes
through generated images. All models see the same batches and share nothing else. ``network=conv-16-32`` is the convolutional one.

Differences from the paper: its sizes are not verified; here one hidden layer of 256 units and 10 codes, or two convolutions of stride 2 and
128 units; Adam at 1e-3, 10,000 images, 20 epochs.
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.vae.reencoding import Reencoding

CARD = MethodCard(
    name="generated-loss",
    title="VAEs by beta, and the loss of their samples",
    family="vae",
    home="reencoding/mnist",
    paper="010",
    cite="Chou 2019",
    splits=True,
    defaults="convention",
)


class GeneratedLoss(Reencoding):
    """Trained on data alone."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        objectives, curves = self.objectives(batch["x"])
        return {"loss": objectives.mean(1).sum(), **curves}
