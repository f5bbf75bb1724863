"""What post-hoc detectors share: they score the features and logits of a trained classifier, from one cached pass of its backbone.

    z = f(x),   g = rectify(z),   score(z, W g + b),   higher = more out of distribution

A detector gives ``score``, which is pure, and where its source has them ``rectify``, ``logits`` and ``learn``, which sets thresholds and
statistics from the training features. Predictions stay those of the classifier. Options that a paper chooses on OOD data are left as papers
or libraries have them; a search may choose them by ``auroc/validation`` of a task, which needs no OOD data.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import Predictor
from elboard.bench.kinds.ood import FeatureScorer
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options
from elboard.bench.record import save_atomically
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod

CHUNK = 250  # training images in a batch


def quantile(values: Tensor, share: float) -> Tensor:
    """Quantile of the values over the first dimension, interpolated linearly; ``torch.quantile`` refuses large tensors."""
    found = np.quantile(values.double().cpu().numpy(), share, axis=0)
    return torch.as_tensor(found, dtype=values.dtype)


def n_kept(width: int, share: float) -> int:
    """How many of ``width`` activations are left where the smallest ``share`` are pruned; at least one."""
    return max(1, width - round(share * width))


def refuse_negative(features: Tensor, name: str) -> None:
    """Raises UserError for features below 0, which the method ``name`` makes no sense of."""
    if features.min() < 0:
        raise UserError(f"{name} needs non-negative features, and those of its base are not")


def fingerprint(model: torch.nn.Module) -> str:
    """sha256 of the parameters and buffers: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


class Features:
    """Penultimate features ``(B, D)`` of a trained classifier, each batch computed once for all detectors that start from it.

    A batch's file is named by the sha256 of all that its bits depend on: the weights, the images, and the arithmetic (device type, threads,
    version of torch). The same images in other batches may differ in the last bit, so nothing smaller than a batch is shared. Files may be
    deleted at any time, and where the folder cannot be written there are none.

    Args:
        folder: of the files; None to compute every time.
    """

    def __init__(self, base: ClassifierMethod, folder: Path | None = None):
        self.base, self.folder = base, folder
        self.weights = fingerprint(base) if folder else ""

    def file(self, x: Tensor) -> Path:
        """Where the features of the batch ``x`` belong."""
        about = f"{self.weights} {x.dtype} {tuple(x.shape)} {x.device.type} {torch.get_num_threads()} {torch.__version__};"
        digest = hashlib.sha256(about.encode())
        digest.update(_bytes(x))
        return self.folder / f"{digest.hexdigest()}.pt"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Features of ``x``, which lies on the classifier's device."""
        if self.folder is None:
            return self.base.features(x)
        file = self.file(x)
        with contextlib.suppress(OSError):
            return torch.load(file, map_location=x.device, weights_only=True)
        features = self.base.features(x)
        with contextlib.suppress(OSError):
            save_atomically(file, lambda path: _save(features.cpu(), path))
        return features


def _save(tensor: Tensor, path: Path) -> None:
    with open(path, "wb") as file:  # given a name, torch raises RuntimeError where it cannot be written
        torch.save(tensor, file)


class PostHoc(Method, Predictor, FeatureScorer):
    """A detector on top of a classifier that is deterministic in evaluation mode.

    Raises UserError for a base whose logits are not ``head(features(x))``.
    """

    @dataclass(kw_only=True)
    class Config(Options):
        """Starts afresh: nothing is trained by gradients."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        base = self.base
        if not isinstance(base, ClassifierMethod) or type(base).forward is not ClassifierMethod.forward:
            raise UserError(f"{type(base).__name__} cannot be the base of a detector: its logits are not head(features(x))")
        self.features = Features(base)

    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Set thresholds and statistics from the training images' features ``(N, D)`` and labels ``(N,)``, which are on the CPU."""

    def rectify(self, features: Tensor) -> Tensor:
        """What the head sees in the place of the features ``(B, D)``."""
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Logits ``(B, C)`` that are scored, of the features as they are."""
        return self.base.head(self.rectify(features))

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """The classifier's W ``(C, D)`` and b ``(C,)`` in double precision on the CPU, for ``learn``."""
        return self.base.head.weight.detach().cpu().double(), self.base.head.bias.detach().cpu().double()

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """``(B,)``, from the features as they are and the logits ``(B, C)`` of :meth:`logits`."""
        raise NotImplementedError

    def fit(self, data: Data, training: Any) -> None:
        folders = training.base_folders.get("classifier")
        self.features = Features(self.base, folders[0] / "features" if folders else None)
        if type(self).learn is not PostHoc.learn:
            device = next(self.base.parameters()).device
            features = torch.cat([self.features(part.to(device)).cpu() for part in data.train["x"].split(CHUNK)])
            self.learn(features, data.train["y"])

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        return self.base.predict(x, n_samples)

    def ood_score(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.score(features, self.logits(features))
