"""Train the small feature networks: ``python -m elboard.tasks.parts.train_features [NAME ...]``. Replaces the files in ``weights/``.

Cross-entropy on the training images (of attributes: of each), Adam with a cosine schedule, one fixed seed; stored in half precision,
the hash in the file's name.
"""

from __future__ import annotations

import hashlib
import io
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.tasks.data import coloured_shapes, loaders
from elboard.tasks.data.attributes import draw, every
from elboard.tasks.data.task import images, permutation
from elboard.tasks.parts.features import SHAPES, WEIGHTS, FeatureCNN

ATTRIBUTES, COLOURED = "sprites-cnn", "shapes-cnn"


def _data(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images and labels. The digits' test part is that of ``generation/digits``, so that it stays unseen here too; the
    pictures of attributes are of all combinations, and of random streams that no task draws from."""
    if name == ATTRIBUTES:
        found = []
        for stream, n in ((101, 20_000), (102, 2000)):
            rng = np.random.default_rng(stream)
            y = every()[rng.integers(64, size=n)]
            found += [torch.from_numpy(draw(y, rng)).float()[:, None], torch.from_numpy(y).float()]
        return found[0], found[1], found[2], found[3]
    if name == COLOURED:
        found = []
        for stream, n in ((101, 20_000), (102, 2000)):
            rng = np.random.default_rng(stream)
            y = rng.integers(4, size=(n, 2))
            found += [images(coloured_shapes.draw(y, rng)), torch.from_numpy(y)]
        return found[0], found[1], found[2], found[3]
    if name == "digits-cnn":
        x, y = loaders.digits()
        order = permutation(len(x), 0)
        (x, y), levels, n = (x[order], y[order]), 17, 1400
        parts = x[:n], y[:n], x[n:], y[n:]
    else:
        load, levels = {"mnist-cnn": loaders.mnist, "fashion-cnn": loaders.fashion_mnist}[name], 256
        parts = (*load("train"), *load("test"))
    return images(parts[0], levels), torch.from_numpy(parts[1]), images(parts[2], levels), torch.from_numpy(parts[3])


def loss_of(name: str, logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy; mean over binary attributes, sum over the two of coloured shapes."""
    if name == COLOURED:
        return sum(F.cross_entropy(part, y[:, k]) for k, part in enumerate(logits.split(4, dim=1)))
    return (F.binary_cross_entropy_with_logits if name == ATTRIBUTES else F.cross_entropy)(logits, y)


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
            loss_of(name, network(x[index]), y[index]).backward()
            optimizer.step()
            schedule.step()
    network.half().float()
    with torch.no_grad():
        logits = network(test_x)
        if name == COLOURED:
            hits = torch.stack([part.argmax(1) for part in logits.split(4, dim=1)], dim=1) == test_y
        else:
            hits = ((logits > 0) == test_y) if name == ATTRIBUTES else logits.argmax(1) == test_y
        return network, hits.float().mean().item()


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
