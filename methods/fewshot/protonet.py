"""Prototypical networks (Snell, Swersky and Zemel 2017).

    minimise  -log p(y | x) of queries,     p(y = k | x) = softmax_k(-||phi(x) - c_k||^2),     c_k = mean of phi(x) over the support of k

Differences from the paper: 16 maps a block instead of 64, episodes of the task (5 classes, where the paper trains on 60 of Omniglot), a
constant learning rate; statistics of batch normalisation are those of :mod:`elboard.methods.fewshot.base`.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.fewshot.base import Prototypical

CARD = MethodCard(
    name="protonet",
    title="Prototypical network",
    family="fewshot",
    home="fewshot/omniglot",
    cite="Snell, Swersky and Zemel 2017",
    defaults="paper",
)


class ProtoNet(Prototypical):
    """See the module."""
