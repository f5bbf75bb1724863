"""Fashion-MNIST for models of its likelihood, binarised: all ten classes in distribution, no labels.

Training images are binarised anew each time that they are shown, all others once, by seeds of the task. Far sets are MNIST, notMNIST,
``constant``, images of one grey level each, drawn uniformly (binarised they are noise of that density, from nearly black to nearly white),
and ``noise``, uniform over the levels (binarised each pixel is white with probability 1/2). Near are the ID test images turned by 90
degrees, ``turned``: as many pixels are white, with the same edges.

A model of Fashion-MNIST may find MNIST likelier than its own test images (Nalisnick et al. 2019; Havtorn et al. 2021), so that minus its
likelihood ranks below chance there. ``fpr80_ood_positive`` is what the latter report beside AUROC and average precision. Of a model of
several layers of codes there is also ``layer_kl@i``, the mean KL of layer i on ID test images: bounds above collapsed ones say nothing.

The lite budget trains on 20,000 of about 59,500 images and scores 1,000 images of each test set, drawn with a seed of the task.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.likelihood import HierarchicalLikelihood, LikelihoodSpec
from elboard.bench.metrics.ood import fpr_ood_positive
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import images, permutation
from elboard.tasks.ood.base import CHUNK, NOISE_SEED, SPLIT_SEED, SUBSET_SEED, Detection, Labelled, noise
from elboard.tasks.parts.images import binarise

CARD = TaskCard(
    name="ood/fashion-mnist-generative",
    title="Binarised Fashion-MNIST without labels against MNIST, notMNIST, constants, noise and itself turned",
    needs=("OODScorer", "BinaryLikelihood"),
    primary="auroc/mean",
    metrics=(
        "auroc/mean",
        "auroc/near",
        "auroc/far",
        "auroc/mnist",
        "fpr80_ood_positive/mnist",
        "aupr_out/mnist",
        "fpr95_id_positive/far",
    ),
    selection="auroc/validation",
    data=("fashion-mnist", "mnist", "notmnist"),
    papers=("113",),
    full="the images and the sizes of Havtorn et al. 2021 but for 500 validation images; 300 of their 1,000 epochs",
    work={"lite": (20_000, 7000), "full": (59_500, 61_000)},
    examples={
        "smoke": {"*/validation": "100 against 100", "*/*": "100 against 100", "layer_kl@*": "100"},
        "lite": {"*/validation": "500 against 500", "*/*": "1,000 against 1,000", "layer_kl@*": "1,000"},
        "full": {"*/validation": "500 against 500", "*/*": "10,000 against 10,000", "layer_kl@*": "10,000"},
    },
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 30, "batch_size": 128, "validate_every": 10}, "task": {"n_train": 20_000, "n_valid": 500, "n_test": 1000}},
    "full": {"train": {"epochs": 300, "batch_size": 128, "validate_every": 30}, "task": {"n_valid": 500}},
}
CONSTANT_SEED, BINARY_SEED = 4, 5


def constants(n: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """``n`` images of ``shape`` (H, W), each of one level, uniform over 0 to 255."""
    levels = np.random.default_rng(seed).integers(0, 256, n, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None], (n, *shape))


class FashionMNISTGenerative(Detection):
    """See the module."""

    near = ("turned",)
    foreign = ("mnist", "notmnist", "constant")

    def source(self, split: str) -> Labelled:
        return loaders.fashion_mnist(split)

    def strangers(self) -> tuple[np.ndarray, ...]:
        return loaders.mnist("test")[0], loaders.notmnist()[0]

    def stand_ins(self) -> tuple[np.ndarray, ...]:
        """The test images in reversed contrast, and mirrored."""
        x, _ = self.stand_in("test")
        return 255 - x, np.flip(x, axis=2)

    def _images(self, split: str) -> np.ndarray:
        return (self.stand_in(split) if self.budget == "smoke" else self.source(split))[0]

    def load_train(self) -> Data:
        c, x = self.config, self._images("train")
        order = permutation(len(x), SPLIT_SEED)
        train = images(x[order[c.n_valid :][: c.n_train or None]])
        spec = LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood="bernoulli")
        return Data(spec, {"x": train}, {"x": _binary(images(x[order[: c.n_valid]]), BINARY_SEED)}, on_batch=binarise)

    def load_test(self, data: Data) -> Test:
        """ID images as ``id``, the sets of the two groups as ``near`` and ``far``."""
        x = self._images("test")
        inside = x[permutation(len(x), SUBSET_SEED)[: self.config.n_test or None]]
        n, shape = len(inside), x.shape[1:]
        grey = {
            "id": images(inside),
            "turned": images(np.rot90(inside, axes=(1, 2))),
            **dict(zip(self.foreign[:-1], map(self._few, self.stand_ins() if self.budget == "smoke" else self.strangers()), strict=True)),
            "constant": images(constants(n, shape, CONSTANT_SEED)),
            "noise": images(noise(n, shape, self.levels, NOISE_SEED)),
        }
        seen = {of: _binary(one, BINARY_SEED + 1 + i) for i, (of, one) in enumerate(grey.items())}
        far = {of: seen[of] for of in (*self.foreign, "noise")}
        return {"id": {"x": seen["id"]}, "near": {of: seen[of] for of in self.near}, "far": far}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """Of hierarchical models also ``layer_kl`` (L,), means over the ID test images."""
        seen = super().observe(method, data, test, history)
        if isinstance(method, HierarchicalLikelihood):
            terms = [method.elbo(part.to(self.device)) for part in test["id"]["x"].split(CHUNK)]
            layers = [torch.cat([of[f"kl_{i + 1}"] for of in terms]).double().mean() for i in range(method.layers)]
            seen.arrays["layer_kl"] = torch.stack(layers).cpu().numpy()
        return seen

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        layers = {f"layer_kl@{i}": float(of) for i, of in enumerate(observed.get("layer_kl", ()), 1)}
        return super().measure(observed, asked) | layers

    @classmethod
    def row(cls, inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
        return super().row(inside, outside) | {"fpr80_ood_positive": fpr_ood_positive(inside, outside, 0.8)}


def _binary(x: Tensor, seed: int) -> Tensor:
    return binarise({"x": x}, torch.Generator().manual_seed(seed))["x"]
