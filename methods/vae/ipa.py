"""IPA and IPA-R: a trained unconditional VAE made conditional by a partial encoder (Harvey, Naderiparizi and Wood 2022).

    IPA:    min over c  E_{x, y} sum_l E_q KL(q(z_l|z_<l, x) || c(z_l|z_<l, y))          codes drawn from q, as far as h_l needs them
    IPA-R:  min over c  E_y { E_c[-log p(y|z)] + sum_l E_c KL(c(z_l|z_<l, y) || p(z_l|z_<l)) }    codes drawn from c

y is the part of x that is seen, and the mask. The run ``model`` is the unconditional VAE, of which nothing is learned here: with q and
p(x|z) held fixed the first is the conditional bound E_q[log p(x|z)] - KL(q || c) but for a constant. Its direction makes c cover every z
that any x with this y has; that of the second lets c settle on some. Completions are decoded codes of c, with the seen pixels pasted.

Differences from the paper: three groups of fully connected layers on binary digits instead of the VD-VAE on photographs; p(y|z) is the
likelihood of the seen pixels; no averaging of weights. c begins as a copy of q (``copy``), as their code may, with weights of 0 for the
mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases, Method
from elboard.bench.task import Batch, DataSpec
from elboard.methods.vae.completing import Completing, PartialEncoder, log_prob, seen
from elboard.methods.vae.ladder import Ladder

CARD = MethodCard(
    name="ipa",
    title="IPA, partial encoder of a trained VAE",
    family="vae",
    home="inpainting/mnist",
    paper="098",
    cite="Harvey, Naderiparizi and Wood 2022",
    bases={"model": {"method": "hvae", "task": {"inpainting/mnist": "generation/mnist"}}},
    splits=True,
    defaults="convention",
)


class IPA(Method, Completing):
    """Trains the partial encoder alone."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        objective: Literal["forward", "reverse"] = "forward"
        copy: bool = True

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.base.requires_grad_(False)
        self.partial = PartialEncoder(self.base)
        if config.copy:
            self.partial.copy(self.base)

    @property
    def model(self) -> Ladder:
        return self.base

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, mask = batch["x"], batch["mask"]
        model, c = self.model, self.partial.given(seen(x, mask))
        if self.config.objective == "forward":
            kl = model.decoder.descend(len(x), model.q(x), c).kl.mean()
            return {"loss": kl, "kl": kl}
        found = model.decoder.descend(len(x), c, model.decoder.prior)
        reconstruction = -log_prob(x.flatten(1), model.out(found.state), mask.expand_as(x).flatten(1)).mean()
        kl = found.kl.mean()
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
