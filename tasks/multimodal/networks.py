"""The networks that look at the pictures of ``multimodal/poly-digits``: one feature network for all modalities, a classifier for each.

``poly-cnn`` ships with the package (``python -m elboard.tasks.multimodal.train_networks`` made it); its hash is part of the metric's name.
The features are those by which a network tells the digit *and* the mean colours on a grid, so that a distance in them sees what a modality
has of its own; the classifiers were trained on pictures of their modality alone, half of them without background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.tasks.multimodal.pictures import MODALITIES
from elboard.tasks.parts.features import stored

NAME, FEATURES, CLASSES, GRID, SIDE = "poly-cnn", 24, 10, 4, 14


class PolyCNN(nn.Module):
    """Two convolutions with pooling, and a hidden layer whose 24 activations are the features."""

    def __init__(self, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * 3 * 3, FEATURES)
        self.head = nn.Linear(FEATURES, outputs)

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in [0, 1] -> ``(B, 24)``; pictures of 28 pixels a side by their 2 x 2 means."""
        x = F.avg_pool2d(x, x.shape[-1] // SIDE)
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.hidden(x.flatten(1)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Networks(nn.Module):
    """``extractor``, of which only the features are used, and ``classifiers``, one a modality."""

    def __init__(self) -> None:
        super().__init__()
        self.extractor = PolyCNN(CLASSES + 3 * GRID**2)
        self.classifiers = nn.ModuleList([PolyCNN(CLASSES) for _ in range(MODALITIES)])


def load(device: torch.device | str) -> tuple[str, Networks]:
    """The full name (``poly-cnn-1a2b3c4d``) and the networks. Raises UserError for damaged weights."""
    full, state = stored(NAME, "elboard.tasks.multimodal.train_networks")
    with torch.random.fork_rng(devices=[]):  # the initial weights must not move the random state of a run
        networks = Networks()
    networks.load_state_dict(state)
    return full, networks.eval().requires_grad_(False).to(device)
