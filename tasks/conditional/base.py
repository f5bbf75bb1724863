"""Conditional generation: whether samples have the attributes that were asked for, how good they look, and how much they differ.

Protocol, common to the family:

* Attributes ``y`` are whole numbers; methods see them with each training image and are asked for samples with those of the test images.
* Control. A classifier of real images, which the task owns and no method sees, tells the attributes of samples: ``control_accuracy``, mean
  over attributes, and ``control_exact``, of all at once. ``/unseen``: for combinations that no training image has, where there are some.
* Quality. ``fd``, ``kid``, ``gen_precision``, ``gen_recall`` in the features of that classifier, of as many samples as test images and with
  the same attributes, as in ``generation/*``.
* Diversity. Variance of samples of equal attributes over that of the test images with these: 1 is as diverse, 0 one sample an attribute.
* Likelihood, where a task and its methods have one. The terms of the bound on log p(x|y), one sample of z an image.

Samples are decoder means. Evidence: terms and hits (0 or 1 for each attribute of each sample), the pooled variances. Distances need the
features, which are too large to keep: only running the method again checks them.

Selection: the control accuracy of 500 samples with attributes of validation images; epochs are not selected, the last counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.conditional import AttributeSpec, ConditionalLikelihood
from elboard.bench.options import Count, Form
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.task import DataTask
from elboard.tasks.parts import features
from elboard.tasks.parts.images import binarise, distances, mean_of
from elboard.tasks.parts.moments import variance_within
from elboard.tasks.parts.pictures import grid

BATCH, SELECT_N = 500, 500
TERMS = ("elbo", "kl", "reconstruction")
CONTROL = ("control_accuracy", "control_exact")


class Conditional(DataTask):
    """The family's protocol; a subclass gives the images, what their attributes are, and the classifier's name."""

    attributes: ClassVar[tuple[int, ...]]
    classifier: ClassVar[str]
    pixels: ClassVar[Literal["binary", "binarised", "grey"]] = "binarised"  # grey levels are binarised whenever they are shown

    sets: ClassVar[Sets] = {
        "images": Examples(arrays=TERMS, metrics=TERMS),
        "samples": Examples(arrays=("hits",), metrics=CONTROL),
        "unseen": Examples(arrays=("unseen_hits",), metrics=tuple(f"{name}/unseen" for name in CONTROL)),
    }
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {"fd": (1e-3, 0.0)}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 20_000
        n_valid: Count = 2000
        n_test: Count = 2000
        n_unseen: Count = 500  # samples of combinations that are not in training
        network: Annotated[str, Form(r"(conv(-[1-9]\d*)+)?", "empty or of the form conv-16-32")] = ""

    def examples(self, split: str, n: int) -> tuple[Tensor, np.ndarray]:
        """``n`` images ``(n, 1, H, W)`` in [0, 1] of "train", "valid" or "test", and their attributes ``(n, K)``."""
        raise NotImplementedError

    def unseen(self) -> np.ndarray:
        """Combinations of attributes that no image has, ``(M, K)``."""
        return np.zeros((0, len(self.attributes)), np.int64)

    def load_train(self) -> Data:
        c = self.config
        parts = {}
        for name, n in (("train", c.n_train), ("valid", c.n_valid)):
            x, y = self.examples(name, n)
            parts[name] = {"x": x, "y": torch.from_numpy(y)}
        kind = "discretised-logistic" if self.pixels == "grey" else "bernoulli"
        spec = AttributeSpec(
            tuple(parts["train"]["x"].shape[1:]), c.n_train, likelihood=kind, attributes=self.attributes, network=c.network
        )
        if self.pixels != "binarised":
            return Data(spec, **parts)
        return Data(spec, parts["train"], binarise(parts["valid"], torch.Generator().manual_seed(0)), on_batch=binarise)

    def load_test(self, data: Data) -> Test:
        x, y = self.examples("test", self.config.n_test)
        test = {"x": x, "y": torch.from_numpy(y), "grey": x}
        return test if self.pixels != "binarised" else binarise(test, torch.Generator().manual_seed(1))

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        y = data.valid["y"][:SELECT_N]
        with torch.random.fork_rng(devices=[]):
            hits = self._hits(self._drawn(method, y), y)
        return {f"control_accuracy[{self.classifier}]": float(hits.mean())}

    def _drawn(self, method: Any, y: Tensor) -> Tensor:
        return torch.cat([method.sample(part.to(self.device)).cpu() for part in y.split(BATCH)]).clamp(0, 1)

    def _hits(self, x: Tensor, y: Tensor) -> np.ndarray:
        """Which attributes of the images the classifier finds to be ``y``, ``(n, K)`` of 0 and 1."""
        _, logits = features.classifier(self.classifier, self.device)
        found = torch.cat([attributes_of(logits(part.to(self.device)).cpu(), self.attributes) for part in x.split(BATCH)])
        return (found == y).numpy().astype(np.uint8)

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x, y, grey = test["x"], test["y"], test["grey"]
        arrays = self._bound(method, x, y) if isinstance(method, ConditionalLikelihood) else {}
        fake = self._drawn(method, y)
        arrays["hits"] = self._hits(fake, y)
        arrays |= {f"{of}_variance": variance_within(images, y) for of, images in (("real", grey), ("fake", fake))}
        if len(combinations := self.unseen()):
            asked = torch.from_numpy(combinations[np.arange(self.config.n_unseen) % len(combinations)])
            arrays["unseen_hits"] = self._hits(self._drawn(method, asked), asked)
        distance, network, of = features.load(self.classifier, self.device)
        arrays[f"{distance}[{network}]"] = np.array(len(fake))
        for name, images in (("real", grey), ("fake", fake)):
            found = torch.cat([of(part.to(self.device)) for part in images.split(BATCH)]).double().cpu().numpy()
            arrays |= {f"{name}_features": found, f"{name}_mean": found.mean(0), f"{name}_covariance": np.cov(found, rowvar=False)}
        return Observed(arrays, {"samples": grid(self._shown(method, y), 10)})

    def _bound(self, method: Any, x: Tensor, y: Tensor) -> dict[str, np.ndarray]:
        """Terms of the bound of each image."""
        seen: dict[str, list[np.ndarray]] = {}
        for part, of in zip(x.split(BATCH), y.split(BATCH), strict=True):
            for name, value in method.elbo(part.to(self.device), of.to(self.device)).items():
                if name in TERMS:
                    seen.setdefault(name, []).append(value.float().cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in seen.items()}

    def _shown(self, method: Any, y: Tensor) -> Tensor:
        """Three samples of each of ten combinations, one below the other."""
        combinations = torch.unique(y, dim=0)
        some = combinations[torch.arange(10) * len(combinations) // 10]
        return self._drawn(method, some.repeat(3, 1))

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found = {name: mean_of(observed[name]) for name in TERMS if name in observed}
        network = next(name for name in observed if name.startswith("fd[")).partition("[")[2]
        for name, slice_ in (("hits", ""), ("unseen_hits", "/unseen")):
            if name in observed:
                hits = observed[name]
                found |= {f"control_accuracy[{network}{slice_}": mean_of(hits), f"control_exact[{network}{slice_}": mean_of(hits.all(1))}
        found["diversity"] = float(observed["fake_variance"]) / float(observed["real_variance"])
        return found | distances(observed, asked)

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = {name: array for name, array in observed.items() if not name.endswith("_features")}
        return kept | {name: array.astype(np.float32) for name, array in kept.items() if name.endswith(("_mean", "_covariance"))}


def attributes_of(logits: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The likeliest attributes ``(n, K)`` by logits ``(n, L)``: one column for an attribute of two values, else one for each value."""
    columns, start = [], 0
    for size in sizes:
        width = 1 if size == 2 else size
        part = logits[:, start : start + width]
        columns.append((part[:, 0] > 0).long() if size == 2 else part.argmax(1))
        start += width
    return torch.stack(columns, dim=1)
