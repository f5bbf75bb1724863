"""Train ``poly-cnn``: ``python -m elboard.tasks.multimodal.train_networks``. Replaces the file in ``tasks/parts/weights``.

On digits of MNIST's training images, half for the features and half for the classifiers, in pictures of crops from random streams that
no task draws from: cross-entropy of the class, and for the features also the squared error of the picture's mean colours on a grid. Adam
with one cycle of the rate, fixed seeds, one thread; stored in half precision, the hash in the file's name.
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
from elboard.tasks.multimodal.networks import CLASSES, GRID, NAME, Networks
from elboard.tasks.multimodal.pictures import MODALITIES, compose
from elboard.tasks.parts.features import WEIGHTS

STEPS, CLASSIFIER_STEPS, BATCH, WEIGHT = 1500, 400, 128, 2000.0


def digits(split: str) -> tuple[Tensor, Tensor]:
    """All images of MNIST pooled to 14 x 14, ``(n, 14, 14)``, and their classes."""
    x, y = loaders.mnist(split)
    return F.avg_pool2d(images(x), 2)[:, 0], torch.from_numpy(y).long()


def shown(x: Tensor, modality: int, rng: np.random.Generator) -> Tensor:
    """Pictures of digits ``(B, 14, 14)``, the first half of them without background."""
    half = len(x) // 2
    parts = [compose(part[:, None], background, rng, modality) for part, background in ((x[:half], False), (x[half:], True))]
    return torch.cat(parts)[:, 0]


def colours(x: Tensor) -> Tensor:
    """Mean colours of pictures ``(B, 3, 14, 14)`` on a grid, ``(B, 3 GRID^2)``."""
    return F.adaptive_avg_pool2d(x, GRID).flatten(1)


def fit(network: nn.Module, modalities: list[int], data: tuple[Tensor, Tensor], steps: int, batch: int, seed: int) -> None:
    """A batch has equally many pictures of each of ``modalities``."""
    torch.manual_seed(seed)
    (x, y), rng, n = data, np.random.default_rng(1000 + seed), len(modalities)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(x), (n, batch // n))
        pictures = torch.cat([shown(x[rows], modality, rng) for rows, modality in zip(index, modalities, strict=True)])
        out = network(pictures)
        loss = F.cross_entropy(out[:, :CLASSES], y[index.flatten()])
        if out.shape[1] > CLASSES:
            loss = loss + WEIGHT / CLASSES * F.mse_loss(out[:, CLASSES:], colours(pictures))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    torch.set_num_threads(1)  # so that sums have one order
    torch.manual_seed(0)
    networks, (x, y) = Networks(), digits("train")
    fit(networks.extractor, list(range(MODALITIES)), (x[::2], y[::2]), STEPS, BATCH, 0)
    for modality, classifier in enumerate(networks.classifiers):
        fit(classifier, [modality], (x[1::2], y[1::2]), CLASSIFIER_STEPS, 2 * BATCH, 1 + modality)
    store(networks)


def store(networks: Networks) -> None:
    """Write the file, and say how well the networks do on test images, by modality: accuracies of classifier and of features, and the
    share of the variance of colours that the features do not tell."""
    networks.half().float()
    (x, y), rng = digits("test"), np.random.default_rng(999)
    found = []
    with torch.no_grad():
        for modality, classifier in enumerate(networks.classifiers):
            pictures = shown(x, modality, rng)[len(x) // 2 :]
            of, out, real = y[len(x) // 2 :], networks.extractor(pictures), colours(pictures)
            hits = [float((logits.argmax(1) == of).float().mean()) for logits in (classifier(pictures), out[:, :CLASSES])]
            found.append([*hits, float((out[:, CLASSES:] - real).square().mean() / real.var(0).mean())])
    buffer = io.BytesIO()
    torch.save({key: value.half() for key, value in networks.state_dict().items()}, buffer)
    for old in WEIGHTS.glob(f"{NAME}-*.pt"):
        old.unlink()
    path = WEIGHTS / f"{NAME}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pt"
    path.write_bytes(buffer.getvalue())
    print(f"{path.name}: {path.stat().st_size} bytes\n{np.array(found).round(4)}")


if __name__ == "__main__":
    main()
