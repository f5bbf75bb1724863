"""Wake-sleep (Hinton, Dayan, Frey and Neal 1995), the baseline of Kingma and Welling 2014, with the same recognition model.

    wake:   theta follows  grad_theta log p(x, z),   x from the data, z ~ q(z|x)
    sleep:  phi follows    grad_phi log q(z|x),      z ~ p(z), x ~ p(x|z): dreamed

Both in one step, each with one sample an example. The decoder ascends the evidence lower bound; the encoder descends KL(p(z|x) || q(z|x))
on dreams instead of KL(q(z|x) || p(z|x)) on data, so that the two have no objective in common. The curves and the selection show the bound.

Differences from the paper: Adam instead of Adagrad and the network of the family, as for its rival.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.likelihood import BinaryLikelihood
from elboard.bench.task import Batch
from elboard.methods.parts.discrete import log_density
from elboard.methods.vae.base import GaussianVAE

CARD = MethodCard(
    name="wake-sleep",
    title="Wake-sleep with the networks of a VAE",
    family="vae",
    home="generation/digits",
    paper="025",
    cite="Hinton, Dayan, Frey and Neal 1995",
    splits=True,
    defaults="convention",
)


class WakeSleep(GaussianVAE, BinaryLikelihood):
    """The decoder is trained on data, the encoder on dreams."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        with torch.no_grad():
            terms = self.elbo(x)
            dreamed = self.prior.sample(len(x), like=self.out.weight)
            dream = self.likelihood.draw(self.output(dreamed)).unflatten(1, self.spec.shape)
        wake = -self.likelihood.log_prob(x.flatten(1), self.output(terms["z"]))
        sleep = -log_density(self.posterior(self.encoder(dream)), dreamed[:, None])[:, 0]
        return {"loss": (wake + sleep).mean(), "elbo": terms["elbo"].mean(), "kl": terms["kl"].mean()}
