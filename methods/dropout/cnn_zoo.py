"""A zoo: a population of small networks that differ in where they begin and in their activation (Schuerholt et al. 2022).

    L = sum_g (1/B) sum_i CE(f(x_i; theta_g), y_i)

Differences from the paper: all networks see the same batches; of each activation as many (its zoos of other grids also vary rates, decay
and how weights begin); lr 1e-3 instead of 3e-4 and batches of the task's size, for training that is a hundredth as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Range
from elboard.bench.task import Batch
from elboard.methods.dropout.zoo_networks import Twins, Zoo

CARD = MethodCard(
    name="cnn-zoo",
    title="Zoo of small networks",
    family="dropout",
    home="compression/mnist-zoo",
    cite="Schuerholt et al. 2022",
    splits=True,
    defaults="convention",
)


class CNNZoo(Twins):
    """The originals, which are their only version.

    Attributes:
        theta: ``(G, P)``.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        networks: Annotated[int, Range(2)] = 16  # half of them with tanh, half with rectifiers

    def __init__(self, config: Any, spec: ClassSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if config.networks % 2:
            raise UserError(f"networks={config.networks}: two activations need an even number")
        self.zoo = Zoo(spec)
        self.theta = nn.Parameter(self.zoo.begin(config.networks))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.errors(self.theta, batch)

    def versions(self) -> Tensor:
        return self.theta.detach()[None]
