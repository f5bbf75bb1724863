"""Train the small feature networks: ``python -m elboard.tasks.parts.train_features [NAME ...]``. Replaces the files in ``weights/``.

Cross-entropy on the training images, Adam with a cosine schedule, one fixed seed; stored in half precision, the hash in the file's name.
"""

from __future__ import annotations

import hashlib
import io
import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.tasks.data import loaders
from elboard.tasks.data.task import images, permutation
from elboard.tasks.parts.features import SHAPES, WEIGHTS, FeatureCNN


def _data(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images and labels. The digits' test part is that of ``generation/digits``, so that it stays unseen here too."""
    if name == "digits-cnn":
        x, y = loaders.digits()
        order = permutation(len(x), 0)
        (x, y), levels, n = (x[order], y[order]), 17, 1400
        parts = x[:n], y[:n], x[n:], y[n:]
    else:
        load, levels = {"mnist-cnn": loaders.mnist, "fashion-cnn": loaders.fashion_mnist}[name], 256
        parts = (*load("train"), *load("test"))
    return images(parts[0], levels), torch.from_numpy(parts[1]), images(parts[2], levels), torch.from_numpy(parts[3])


def train(name: str, epochs: int) -> tuple[FeatureCNN, float]:
    """The trained network, rounded to half precision, and its test accuracy."""
    x, y, test_x, test_y = _data(name)
    torch.manual_seed(0)
    network = FeatureCNN(*SHAPES[name])
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    steps = epochs * (len(x) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(x))[: len(x) // 128 * 128].split(128):
            optimizer.zero_grad()
            F.cross_entropy(network(x[index]), y[index]).backward()
            optimizer.step()
            schedule.step()
    network.half().float()
    with torch.no_grad():
        return network, (network(test_x).argmax(1) == test_y).float().mean().item()


def main(names: list[str]) -> None:
    for name in names or list(SHAPES):
        network, accuracy = train(name, epochs=60 if name == "digits-cnn" else 5)
        buffer = io.BytesIO()
        torch.save({key: value.half() for key, value in network.state_dict().items()}, buffer)
        for old in WEIGHTS.glob(f"{name}-*.pt"):
            old.unlink()
        path = WEIGHTS / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pt"
        path.write_bytes(buffer.getvalue())
        print(f"{path.name}: {path.stat().st_size} bytes, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
