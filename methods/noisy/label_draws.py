"""Classifiers trained on independent draws of the label noise, one on each: how much of a prediction the noise decides.

    L = sum_r L_r(w_r; x, y_r),    p_r(y | x) the prediction of network r;    Var = E_x sum_c Var_r p_r(c | x)

(Chen et al. 2022, whose decomposition of the expected error over repeated draws of the labels is into bias and variance; compression is to
make the latter smaller.) ``nested`` has networks with nested dropout (nested_dropout.py), each with its own k* by its own noisy validation
labels; else they are plain, with ``dropout`` where that is given. All start from the same weights and see the same batches, so that in
plain networks nothing but the labels differs; prefixes and dropout masks are drawn anew for each.

The networks share no parameter, and Adam, AdamW and SGD work element by element: one optimiser equals one for each. Differences from the
paper: as those of nested dropout; four draws, of the task, since the paper's number could not be read. A run costs what its networks cost.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.noisy import NoiseDraws, RedrawnSpec
from elboard.bench.method import Bases, Method
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.noisy.nested_dropout import NestedDropout
from elboard.methods.parts.classifier import ClassifierMethod

CARD = MethodCard(
    name="label-draws",
    title="Networks on independent draws of the label noise",
    family="noisy",
    home="noisy/digits-redrawn",
    paper="013",
    cite="Chen et al. 2022",
    defaults={"trials": 3, "on": "noisy/mnist-sym50", "by": "accuracy", "options": ("eta",), "rest": "paper"},
)


class LabelDraws(Method, NoiseDraws):
    """Attributes: networks: one for each draw of the data's labels.

    Raises UserError for data whose labels are drawn once.
    """

    @dataclass(kw_only=True)
    class Config(NestedDropout.Config):
        nested: bool = False  # networks with nested dropout instead of plain ones; mu and eta are of these

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(spec, RedrawnSpec):
            raise UserError("label-draws needs data with several draws of the labels")
        first = (NestedDropout if config.nested else ClassifierMethod)(config, spec)
        self.networks = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(spec.draws - 1))])

    def prepare(self, data: Data) -> None:
        for r, network in enumerate(self.networks):
            network.prepare(Data(data.spec, valid={"x": data.valid["x"], "y": data.valid["labels"][:, r]} if data.valid else {}))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        found = [network.loss({**batch, "y": batch["labels"][:, r]}) for r, network in enumerate(self.networks)]
        means = {name: torch.stack([of[name] for of in found]).mean() for name in found[0]}
        return {**means, "loss": torch.stack([of["loss"] for of in found]).sum()}

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        """Overridden so that each network is clipped by itself."""
        for network in self.networks if self.config.clip > 0 else ():
            nn.utils.clip_grad_norm_(network.parameters(), self.config.clip)

    def before_validation(self) -> None:
        for network in self.networks:
            network.before_validation()

    def draws(self, x: Tensor) -> Tensor:
        return torch.stack([network.predict(x)[0] for network in self.networks])
