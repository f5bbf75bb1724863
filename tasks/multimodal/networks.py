"""The networks that look at the pictures of ``multimodal/*``: what features are of, and a classifier for each modality.

They ship with the package (``python -m elboard.tasks.multimodal.train_networks`` made them); a hash is part of the metric's name.

``poly-cnn``, of ``multimodal/poly-digits``: one feature network for all modalities. The features are those by which a network tells the
digit *and* the mean colours on a grid, so that a distance in them sees what a modality has of its own; the classifiers were trained on
pictures of their modality alone, half of them without background.

``pair-cnn``, of ``multimodal/digits``: a feature network and a classifier for each modality, alike, of other training images each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.tasks.multimodal.pictures import MODALITIES
from elboard.tasks.parts.features import stored

POLY, PAIR = "poly-cnn", "pair-cnn"
FEATURES, CLASSES, GRID, SIDE = 24, 10, 4, 14


class PolyCNN(nn.Module):
    """Two convolutions with pooling, and a hidden layer whose 24 activations are the features."""

    def __init__(self, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * 3 * 3, FEATURES)
        self.head = nn.Linear(FEATURES, outputs)

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in [0, 1], or ``(B, 1, H, W)`` in grey -> ``(B, 24)``; pictures of 28 pixels a side by their 2 x 2 means."""
        x = F.avg_pool2d(x, x.shape[-1] // SIDE).expand(-1, 3, -1, -1)
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.hidden(x.flatten(1)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Networks(nn.Module):
    """``classifiers``, one a modality."""

    classifiers: nn.ModuleList

    def features(self, m: int, x: Tensor) -> Tensor:
        """Of pictures of modality ``m``, counted from 0, ``(B, 24)``."""
        raise NotImplementedError


class PolyNetworks(Networks):
    """With an ``extractor``, of which only the features are used."""

    def __init__(self) -> None:
        super().__init__()
        self.extractor = PolyCNN(CLASSES + 3 * GRID**2)
        self.classifiers = nn.ModuleList([PolyCNN(CLASSES) for _ in range(MODALITIES)])

    def features(self, m: int, x: Tensor) -> Tensor:
        return self.extractor.features(x)


class PairNetworks(Networks):
    """With ``extractors``, one a modality."""

    def __init__(self) -> None:
        super().__init__()
        self.extractors, self.classifiers = (nn.ModuleList([PolyCNN(CLASSES) for _ in range(2)]) for _ in range(2))

    def features(self, m: int, x: Tensor) -> Tensor:
        return self.extractors[m].features(x)


KINDS: dict[str, type[Networks]] = {POLY: PolyNetworks, PAIR: PairNetworks}


def load(device: torch.device | str, name: str = POLY) -> tuple[str, Networks]:
    """The full name (``poly-cnn-1a2b3c4d``) and the networks. Raises UserError for damaged weights."""
    full, state = stored(name, f"elboard.tasks.multimodal.train_networks {name}")
    with torch.random.fork_rng(devices=[]):  # the initial weights must not move the random state of a run
        networks = KINDS[name]()
    networks.load_state_dict(state)
    return full, networks.eval().requires_grad_(False).to(device)
