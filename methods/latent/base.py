"""What models of discrete latents share: the generative model, its start, and the two rates of an approximate EM algorithm.

    E-step:  q(z|x) towards p(z|x) propto p(z) p(x|z);    M-step:  theta up the gradient of E_q log p(x, z), q held fixed

Both steps are taken on the same batch, at rates of their own. All methods of the family have the same generative model, with the same
parameters at the start for the same seed: it draws first.

Differences from the papers: M-steps are of Adam and not of plain gradient descent, on one batch instead of several rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from elboard.bench.kinds.compositional import CompositionalSpec, MixtureLatents, TokenLatents
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Positive
from elboard.bench.task import Data
from elboard.methods.latent.models import Means, Tokens, model_of


class TokenModel(Method, TokenLatents):
    """The generative model; subclasses say what is taken for its posterior."""

    model: Means | Tokens

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 3e-3  # of the E-step's networks; the paper's toy takes 3e-4 for ten times as many steps a round
        lr_model: Positive = 3e-3
        schedule: Literal["constant", "cosine"] = "cosine"  # of both
        code_dim: Count = 4  # of the embedding of a token
        width: Count = 64  # of each hidden layer

    def __init__(self, config: Any, spec: CompositionalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.model = model_of(spec, config.code_dim, config.width)

    def prepare(self, data: Data) -> None:
        self.model.start_from(data.train["x"], data.shared.get("start"))

    def log_joints(self, x: Tensor) -> Tensor:
        return self.model.log_likelihoods(x) + self.model.log_prior()

    def parameter_groups(self) -> list[dict]:
        own = {id(p) for p in self.model.parameters()}
        others = [p for p in self.parameters() if id(p) not in own and p.requires_grad]
        model = {"params": [p for p in self.model.parameters() if p.requires_grad], "lr": self.config.lr_model}
        return [model, *([{"params": others}] if others else [])]


class LatentModel(TokenModel, MixtureLatents):
    """One that can be of either likelihood."""
