"""Binary digits of which a part is seen: one half, or all but a box.

Pixels are binarised and masks drawn anew each time a training image is shown; validation and test images have one version each, by a seed
that belongs to the task. Half of the masks hide one of the four halves, the others a box of 10 to 20 pixels a side anywhere. Splits and
training images are those of ``generation/mnist``, test images the first of the published ones.

* ``conditional_elbo``: the bound on log p(x|y) of the whole image given what is seen, codes drawn from q(z|x); of methods that have one.
* ``nll_missing[k=50]`` (primary): minus the log of the mean likelihood of the hidden pixels under 50 codes drawn without knowing them; what
  completions are worth as a distribution, and on average a bound on the model's own.
* ``best_mse[k=20]``: squared error of the nearest of 20 completions. ``pair_mse[k=20]``: how far two of them are apart. Both means over
  hidden pixels; completions are means of pixels given a code.
* ``fd``, ``kid``, ``gen_precision``, ``gen_recall``: one completion of each test image against the grey test images, in features of a small
  classifier. ``class_entropy[network,k=20]``: of that classifier's mean over the completions of an image.

Evidence: bound, nll, error, difference and entropy of each image. Distances need the features: only running the method again checks them.

Selection: the NLL of the hidden pixels of 200 validation images; epochs are not selected, the last counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.batches import Batch
from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.inpainting import ConditionalBound
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data import loaders
from elboard.tasks.data.task import DataTask, images, permutation, stand_in
from elboard.tasks.parts import features
from elboard.tasks.parts.images import binarise, distances, mean_of
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="inpainting/mnist",
    title="MNIST of which a part is seen",
    needs=("Inpainter",),
    primary="nll_missing",
    metrics=("nll_missing", "conditional_elbo", "best_mse", "pair_mse", "class_entropy", "fd", "kid", "gen_precision", "gen_recall"),
    selection="nll_missing[k=50]",
    data=("mnist",),
    papers=("098",),
    full="50,000 of the training images for 100 epochs; no paper's own setting",
    work={"lite": (20_000, 71_000), "full": (50_000, 710_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 100}, "task": {"n_train": 600, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 5, "batch_size": 100, "validate_every": 5}, "task": {}},
    "full": {
        "train": {"epochs": 100, "batch_size": 100, "validate_every": 10},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000},
    },
}
K, K_NLL, SELECT_N, CHUNK = 20, 50, 200, 100
NETWORK = "mnist-cnn"
FOUND = {"nll_missing": f"k={K_NLL}", "best_mse": f"k={K}", "pair_mse": f"k={K}"}


def masked(batch: Batch, generator: torch.Generator) -> Batch:
    """Pixels drawn from their grey levels, and a mask (B, 1, H, W), 1 where they are seen."""
    x = batch["x"]
    n, side = len(x), x.shape[-1]
    u = torch.rand(n, 5, 1, 1, 1, generator=generator, device=x.device)
    rows, columns = torch.meshgrid(*[torch.arange(side, device=x.device)] * 2, indexing="ij")
    along = torch.where(u[:, 0] < 0.5, rows, columns)  # (B, 1, H, W)
    half = (along < side // 2) == (u[:, 1] < 0.5)
    size = side * (10 + 10 * u[:, 1]) / 28
    top, left = u[:, 2] * (side - size), u[:, 3] * (side - size)
    box = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    return {**binarise(batch, generator), "mask": torch.where(u[:, 4] < 0.5, half, ~box).float()}


class InpaintingMNIST(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {
        "images": Examples(arrays=(*FOUND, "class_entropy"), metrics=(*FOUND, "class_entropy")),
        "bounds": Examples(arrays=("conditional_elbo",), metrics=("conditional_elbo",)),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 20_000
        n_valid: Count = 2000
        n_test: Count = 1000

    def _source(self, split: str) -> np.ndarray:
        return stand_in(split)[0] if self.budget == "smoke" else loaders.mnist(split)[0]

    def load_train(self) -> Data:
        c, pool = self.config, self._source("train")
        pool = pool[permutation(len(pool), 1)]
        train, valid = images(pool[c.n_valid :][: c.n_train]), images(pool[: c.n_valid])
        spec = LikelihoodSpec(tuple(train.shape[1:]), len(train), likelihood="bernoulli")
        return Data(spec, {"x": train}, masked({"x": valid}, torch.Generator().manual_seed(0)), on_batch=masked)

    def load_test(self, data: Data) -> Test:
        grey = images(self._source("test")[: self.config.n_test])
        return {**masked({"x": grey}, torch.Generator().manual_seed(1)), "grey": grey}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        x, mask = (data.valid[name][:SELECT_N].to(self.device) for name in ("x", "mask"))
        with torch.random.fork_rng(devices=[]):
            return {f"nll_missing[k={K_NLL}]": -method.log_missing(x, mask, K_NLL).mean().item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x, mask, grey = test["x"], test["mask"], test["grey"]
        _, logits = features.classifier(NETWORK, self.device)
        distance, network, of = features.load(NETWORK, self.device)
        seen: dict[str, list[np.ndarray]] = {}
        first, shown = [], []
        for part, seen_at in zip(x.split(CHUNK), mask.split(CHUNK), strict=True):
            part, seen_at = part.to(self.device), seen_at.to(self.device)
            completed = method.complete(part, seen_at, K)
            found = differences(completed, part, 1 - seen_at)
            p = logits(completed.flatten(0, 1)).softmax(1).unflatten(0, (len(part), K)).mean(1)
            found |= {"nll_missing": -method.log_missing(part, seen_at, K_NLL), "class_entropy": torch.special.entr(p).sum(1)}
            for name, value in found.items():
                seen.setdefault(name, []).append(value.float().cpu().numpy())
            first.append(completed[:, 0].cpu())
            shown.append(completed[:, :8].cpu())
        arrays = {name: np.concatenate(parts) for name, parts in seen.items()} | {f"{distance}[{network}]": np.array(len(x))}
        if isinstance(method, ConditionalBound):
            parts = zip(x.split(CHUNK), mask.split(CHUNK), strict=True)
            bounds = torch.cat([method.bound(part.to(self.device), seen_at.to(self.device)) for part, seen_at in parts])
            arrays["conditional_elbo"] = bounds.float().cpu().numpy()
        for name, whole in (("real", grey), ("fake", torch.cat(first))):
            feature = torch.cat([of(part.to(self.device)) for part in whole.split(500)]).double().cpu().numpy()
            arrays |= {f"{name}_features": feature, f"{name}_mean": feature.mean(0), f"{name}_covariance": np.cov(feature, rowvar=False)}
        return Observed(arrays, {"completions": _picture(x, mask, shown[0])})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        network = next(name for name in observed if name.startswith("fd["))[3:-1]
        found = {f"{name}[{parameters}]": mean_of(observed[name]) for name, parameters in FOUND.items()}
        found[f"class_entropy[{network},k={K}]"] = mean_of(observed["class_entropy"])
        if "conditional_elbo" in observed:
            found["conditional_elbo"] = mean_of(observed["conditional_elbo"])
        return found | distances(observed, asked)

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = {name: array for name, array in observed.items() if not name.endswith("_features")}
        return kept | {name: array.astype(np.float32) for name, array in kept.items() if name.endswith(("_mean", "_covariance"))}


def differences(completed: Tensor, x: Tensor, hidden: Tensor) -> dict[str, Tensor]:
    """Error of the nearest of ``completed`` (B, k, C, H, W) to ``x`` and mean squared difference of two of them, over ``hidden`` pixels."""
    k, pixels = completed.shape[1], hidden.sum((1, 2, 3)).clamp(min=1) * x.shape[1]
    of = (completed * hidden[:, None]).flatten(2)
    error = (of - (x * hidden).flatten(1)[:, None]).square().sum(2)
    # the sum over pairs of squared differences is k times the sum of squared deviations from the mean
    apart = 2 * (of - of.mean(1, keepdim=True)).square().sum((1, 2)) / max(1, k - 1)
    return {"best_mse": error.amin(1) / pixels, "pair_mse": apart / pixels}


def _picture(x: Tensor, mask: Tensor, completed: Tensor) -> np.ndarray:
    """Of six images what is seen (the rest in grey), eight completions, and the whole."""
    rows = [
        torch.cat([torch.where(m > 0, image, 0.5)[None], many, image[None]]) for image, m, many in zip(x, mask, completed, strict=False)
    ]
    return grid(torch.cat(rows[:6]), 10)
