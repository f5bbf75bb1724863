"""Train ``poly-cnn``: ``python -m elboard.tasks.multimodal.train_networks``. Replaces the file in ``tasks/parts/weights``.

On digits of MNIST's training images, half for the features and half for the classifiers, in pictures of crops from random streams that
no task draws from: cross-entropy of the class, and for the features also of the cell of modality and texture that a crop lies in, where
there is a background. Adam with one cycle of the rate, one fixed seed; stored in half precision, the hash in the file's name.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.tasks.data import loaders
from elboard.tasks.data.task import images
from elboard.tasks.multimodal.networks import CLASSES, NAME, Networks
from elboard.tasks.multimodal.pictures import CELLS, MODALITIES, compose
from elboard.tasks.parts.features import WEIGHTS

EPOCHS, BATCH, STREAM = 3, 256, 1067


def digits(split: str) -> tuple[Tensor, Tensor]:
    """All images of MNIST pooled to 14 x 14, ``(n, 14, 14)``, and their classes."""
    x, y = loaders.mnist(split)
    return F.avg_pool2d(images(x), 2)[:, 0], torch.from_numpy(y).long()


def shown(x: Tensor, modality: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures of digits ``(B, 14, 14)``, every other one without background, and the cell among those of all modalities (-1: none)."""
    on, off = (compose(x[start::2, None], background, rng, modality) for start, background in ((0, True), (1, False)))
    return torch.cat([on.x, off.x])[:, 0], torch.cat([on.cell + modality * CELLS**2, torch.full_like(off.cell, -1)])[:, 0]


def fit(network: nn.Module, modalities: list[int], x: Tensor, y: Tensor, rng: np.random.Generator) -> None:
    """Batches are of one modality each, in turn."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * len(modalities) * (len(x) // BATCH))
    for modality in modalities * EPOCHS:
        for index in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            pictures, cell = shown(x[index], modality, rng)
            logits, of = network(pictures), torch.cat([y[index][::2], y[index][1::2]])
            loss = F.cross_entropy(logits[:, :CLASSES], of)
            if logits.shape[1] > CLASSES:
                loss = loss + F.cross_entropy(logits[:, CLASSES:], cell, ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    torch.manual_seed(0)
    rng, networks, (x, y) = np.random.default_rng(STREAM), Networks(), digits("train")
    fit(networks.extractor, list(range(MODALITIES)), x[::2], y[::2], rng)
    for modality, classifier in enumerate(networks.classifiers):
        fit(classifier, [modality], x[1::2], y[1::2], rng)
    networks.half().float()
    (x, y), found = digits("test"), []
    with torch.no_grad():
        for modality, classifier in enumerate(networks.classifiers):
            pictures, cell = shown(x, modality, rng)
            of, logits = torch.cat([y[::2], y[1::2]]), networks.extractor(pictures)
            hits, there = classifier(pictures).argmax(1) == of, cell >= 0
            located = logits[there, CLASSES:].argmax(1) == cell[there]
            found.append([float(hits[there].float().mean()), float(hits[~there].float().mean()), float(located.float().mean())])
            found[-1].append(float((logits[:, :CLASSES].argmax(1) == of).float().mean()))
    buffer = io.BytesIO()
    torch.save({key: value.half() for key, value in networks.state_dict().items()}, buffer)
    for old in WEIGHTS.glob(f"{NAME}-*.pt"):
        old.unlink()
    path = WEIGHTS / f"{NAME}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pt"
    path.write_bytes(buffer.getvalue())
    print(
        f"{path.name}: {path.stat().st_size} bytes; accuracy with and without background, of cells, of the features' network by modality:"
    )
    print(np.array(found).round(4))


if __name__ == "__main__":
    main()
