"""Classifiers of which few weights are not zero from the first step on, and which: removal by a score, addition by the dense gradient.

Each layer keeps its number of active weights; the rest are exactly zero, whatever the optimiser holds of them. A change, at step t of T:

    share = (a / 2) (1 + cos(pi t / T_end)),   T_end = until T
    remove that share of active weights, with the least score; add as many inactive ones, with the largest |dL/dw| of the batch, at 0

after Evci, Gale, Menick, Castro and Elsen (2020, section 3), with one density in all layers ("uniform"), but for a first convolution, which
is dense. What was removed cannot come back in the same change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.method import Bases
from elboard.bench.options import Range, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.noisy_layers import weight_layers


class SparseClassifier(ClassifierMethod):
    """The shared classifier under masks; a subclass says by what score weights leave and what its loss adds to the cross-entropy.

    Attributes:
        names: of the masked weights, as of parameters, in the order of their layers. counts: how many of each are active in the end.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        backbone: Literal["mlp", "cnn", "pooled", "resnet20"] = "mlp"
        optimizer: Literal["adam", "adamw", "sgd"] = "sgd"
        lr: float = 0.05
        weight_decay: float = 5e-4
        schedule: Literal["constant", "cosine"] = "cosine"
        mask: Literal["rewired", "static", "pruned"] = "rewired"  # pruned: all active, until pruned at once
        density: Annotated[float, Range(above=0, high=1)] = 0.1
        every: Annotated[float, Range(above=0, high=1)] = 0.03125  # share of training between two changes
        until: Share = 0.75  # share of training after which the mask stays; of pruned that at which it is pruned
        replaced: Annotated[float, Range(0, below=1)] = 0.3  # a, share of active weights at the first change

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        layers = weight_layers(self)
        self.names = [f"{name}.weight" for name, module in self.named_modules() if module in layers]
        self.counts = []
        for i, layer in enumerate(layers):
            size = layer.weight.numel()
            whole = i == 0 and isinstance(layer, nn.Conv2d)
            self.counts.append(size if whole else max(1, round(config.density * size)))
            active = size if config.mask == "pruned" else self.counts[i]
            mask = torch.zeros(size, dtype=torch.bool)
            mask[torch.randperm(size)[:active]] = True
            self.register_buffer(f"mask_{i}", mask.view_as(layer.weight))
            with torch.no_grad():
                layer.weight.mul_(mask.view_as(layer.weight) * (size / active) ** 0.5)  # outputs vary as those of the dense layer

    @property
    def masks(self) -> list[Tensor]:
        """Which weights of each layer are active, in its shape."""
        return [self.get_buffer(f"mask_{i}") for i in range(len(self.names))]

    @property
    def weights(self) -> list[nn.Parameter]:
        return [self.get_parameter(name) for name in self.names]

    def active(self) -> dict[str, Tensor]:
        """The weights, those under the masks as zeros, by name."""
        return {name: w * mask for name, w, mask in zip(self.names, self.weights, self.masks, strict=True)}

    # --- what a subclass defines ---------------------------------------------------------------

    def logits(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """Of the network with ``weights``, as training computes them."""
        return functional_call(self, weights, (x,))

    def growing(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """The logits by whose gradient weights come."""
        return self.logits(weights, x)

    def score(self, i: int) -> Tensor:
        """Of the i-th layer's weights, in its shape: the least leave."""
        raise NotImplementedError

    def begin(self, i: int, flat: Tensor) -> None:
        """Further state of the weights ``flat`` (indices into the flattened layer), which have just been added."""

    # --- changes ---------------------------------------------------------------------------------

    def dense_gradients(self, batch: Batch) -> list[Tensor]:
        """dL/dw of the cross-entropy, of inactive weights at 0 too."""
        with torch.enable_grad():
            leaves = {name: w.detach().requires_grad_() for name, w in self.active().items()}
            error = F.cross_entropy(self.growing(leaves, batch["x"]), batch["y"])
            return list(torch.autograd.grad(error, list(leaves.values())))

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        c, steps = self.config, self.trainer.num_training_batches
        step, total = self.current_epoch * steps + batch_idx + 1, steps * self.trainer.max_epochs
        end = c.until * total
        if c.mask == "pruned" and step == max(1, round(end)):
            self.prune()
        if c.mask == "rewired" and step <= end and step % max(1, round(c.every * total)) == 0:
            self.rewire(batch, 0.5 * c.replaced * (1 + math.cos(math.pi * step / end)))

    @torch.no_grad()
    def prune(self) -> None:
        """Each layer keeps the weights with the largest scores, as many as it counts."""
        for i, mask in enumerate(self.masks):
            leaving = self.score(i).flatten().topk(mask.numel() - self.counts[i], largest=False).indices
            mask.view(-1)[leaving] = False
            self.clear(i, leaving)

    @torch.no_grad()
    def rewire(self, batch: Batch, share: float) -> None:
        """Remove the ``share`` of each layer's active weights, and add as many."""
        gradients = self.dense_gradients(batch)
        self.agree(*gradients)  # the first process's, from its own part of the batch
        for i, (mask, gradient) in enumerate(zip(self.masks, gradients, strict=True)):
            flat = mask.view(-1)
            n = min(int(share * self.counts[i]), mask.numel() - self.counts[i])
            leaving = self.score(i).masked_fill(~mask, math.inf).flatten().topk(n, largest=False).indices
            coming = gradient.abs().masked_fill(mask, -1.0).flatten().topk(n).indices
            flat[leaving] = False
            self.clear(i, torch.cat([leaving, coming]))
            if n:
                self.begin(i, coming)
            flat[coming] = True

    def clear(self, i: int, flat: Tensor) -> None:
        """Zero the weights ``flat`` of the i-th layer, and what the optimiser remembers of them."""
        self.weights[i].view(-1)[flat] = 0
        self.forget(self.weights[i], flat)

    def forget(self, parameter: nn.Parameter, flat: Tensor) -> None:
        """Zero what the optimiser remembers of the entries ``flat``."""
        for held in self.optimizers(use_pl_optimizer=False).state.get(parameter, {}).values():
            if isinstance(held, Tensor) and held.shape == parameter.shape:
                held.view(-1)[flat] = 0
