"""What models of sequences share: their sizes, their training, and the law of a step given what a network says of it.

    p(x_t | h_t) = prod_d p(x_td | out_td),   out_t = head(h_t)

by the likelihood that the data ask for. Samples are draws of it and no means, of all models alike: the numbers of a step are independent
given h_t in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.kinds.sequences import SequenceModel
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Positive, Share
from elboard.bench.task import Data
from elboard.methods.parts.likelihoods import likelihood


class SequenceMethod(Method, SequenceModel):
    """A subclass gives what the head reads.

    Attributes:
        length, inputs: T and D of a sequence.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 4e-3  # as of the transformers of tokens
        schedule: Literal["constant", "cosine"] = "cosine"
        warmup: Share = 0.05
        width: Count = 96
        depth: Count = 4  # blocks of state-space layers
        scan: Literal["doubling", "fourier", "loop"] = "doubling"  # how the states of all steps are found: the same but for rounding

    def __init__(self, config: Any, spec: LikelihoodSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.length, self.inputs = spec.shape
        self.likelihood = likelihood(spec)
        self.head = nn.Linear(config.width, self.inputs)

    def prepare(self, data: Data) -> None:
        """The head begins at the mean step of the training data."""
        self.head.bias.data.copy_(self.likelihood.initial_bias(data.train["x"].flatten(0, 1).mean(0)))

    def resized(self, length: int) -> SequenceMethod:
        return type(self)(self.config, replace(self.spec, shape=(length, self.inputs))).to(self.device)
