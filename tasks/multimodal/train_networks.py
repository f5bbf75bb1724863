"""Train the networks: ``python -m elboard.tasks.multimodal.train_networks [NAME ...]``. Replaces the files in ``tasks/parts/weights``.

``poly-cnn``: on digits of MNIST's training images, half for the features and half for the classifiers, in pictures of crops from random
streams that no task draws from: cross-entropy of the class, and for the features also the squared error of the picture's mean colours on
a grid. ``pair-cnn``: on the training images of MNIST and of Fashion-MNIST, the same halves; cross-entropy of the class. Adam with one
cycle of the rate, fixed seeds, one thread; stored in half precision, the hash in the file's name.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.tasks.data import loaders
from elboard.tasks.data.task import images
from elboard.tasks.multimodal.networks import CLASSES, GRID, KINDS, PAIR, POLY, Networks, PairNetworks, PolyNetworks
from elboard.tasks.multimodal.pictures import MODALITIES, compose
from elboard.tasks.parts.features import WEIGHTS

STEPS, CLASSIFIER_STEPS, BATCH, WEIGHT = 1500, 400, 128, 2000.0
Drawn = Callable[[Tensor, int, np.random.Generator], Tensor]


def digits(split: str, garments: bool = False) -> tuple[Tensor, Tensor]:
    """All images of MNIST, or of Fashion-MNIST, pooled to 14 x 14, ``(n, 14, 14)``, and their classes."""
    x, y = (loaders.fashion_mnist if garments else loaders.mnist)(split)
    return F.avg_pool2d(images(x), 2)[:, 0], torch.from_numpy(y).long()


def shown(x: Tensor, modality: int, rng: np.random.Generator) -> Tensor:
    """Pictures of digits ``(B, 14, 14)``, the first half of them without background."""
    half = len(x) // 2
    parts = [compose(part[:, None], background, rng, modality) for part, background in ((x[:half], False), (x[half:], True))]
    return torch.cat(parts)[:, 0]


def colours(x: Tensor) -> Tensor:
    """Mean colours of pictures ``(B, 3, 14, 14)`` on a grid, ``(B, 3 GRID^2)``."""
    return F.adaptive_avg_pool2d(x, GRID).flatten(1)


def fit(
    network: nn.Module, modalities: list[int], data: tuple[Tensor, Tensor], steps: int, batch: int, seed: int, drawn: Drawn = shown
) -> None:
    """A batch has equally many pictures of each of ``modalities``, made by ``drawn`` of digits."""
    torch.manual_seed(seed)
    (x, y), rng, n = data, np.random.default_rng(1000 + seed), len(modalities)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(x), (n, batch // n))
        pictures = torch.cat([drawn(x[rows], modality, rng) for rows, modality in zip(index, modalities, strict=True)])
        out = network(pictures)
        loss = F.cross_entropy(out[:, :CLASSES], y[index.flatten()])
        if out.shape[1] > CLASSES:
            loss = loss + WEIGHT / CLASSES * F.mse_loss(out[:, CLASSES:], colours(pictures))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def grey(x: Tensor, modality: int, rng: np.random.Generator) -> Tensor:
    """Pictures that are the images ``(B, 14, 14)`` themselves."""
    return x[:, None]


def poly() -> PolyNetworks:
    networks, (x, y) = PolyNetworks(), digits("train")
    fit(networks.extractor, list(range(MODALITIES)), (x[::2], y[::2]), STEPS, BATCH, 0)
    for modality, classifier in enumerate(networks.classifiers):
        fit(classifier, [modality], (x[1::2], y[1::2]), CLASSIFIER_STEPS, 2 * BATCH, 1 + modality)
    return networks


def pair() -> PairNetworks:
    networks = PairNetworks()
    for modality, both in enumerate(zip(networks.extractors, networks.classifiers, strict=True)):
        x, y = digits("train", garments=modality == 1)
        for half, network in enumerate(both):
            fit(network, [modality], (x[half::2], y[half::2]), STEPS, BATCH, 2 * modality + half, grey)
    return networks


def tested_poly(networks: PolyNetworks) -> list[list[float]]:
    """Of test images, by modality: accuracies of classifier and of features, and the share of the variance of colours that the features
    do not tell."""
    (x, y), rng = digits("test"), np.random.default_rng(999)
    found = []
    for modality, classifier in enumerate(networks.classifiers):
        pictures = shown(x, modality, rng)[len(x) // 2 :]
        of, out, real = y[len(x) // 2 :], networks.extractor(pictures), colours(pictures)
        hits = [float((logits.argmax(1) == of).float().mean()) for logits in (classifier(pictures), out[:, :CLASSES])]
        found.append([*hits, float((out[:, CLASSES:] - real).square().mean() / real.var(0).mean())])
    return found


def tested_pair(networks: PairNetworks) -> list[list[float]]:
    """Of test images, by modality: accuracies of classifier and of the network of the features."""
    found = []
    for modality, both in enumerate(zip(networks.classifiers, networks.extractors, strict=True)):
        x, y = digits("test", garments=modality == 1)
        found.append([float((network(x[:, None]).argmax(1) == y).float().mean()) for network in both])
    return found


MAKERS: dict[str, tuple[Callable[[], Networks], Callable[..., list[list[float]]]]] = {POLY: (poly, tested_poly), PAIR: (pair, tested_pair)}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)  # so that sums have one order
    for name in names or list(KINDS):
        torch.manual_seed(0)
        make, tested = MAKERS[name]
        networks = make()
        networks.half().float()
        with torch.no_grad():
            found = tested(networks)
        store(name, networks)
        print(np.array(found).round(4))


def store(name: str, networks: Networks) -> None:
    """Write the file."""
    buffer = io.BytesIO()
    torch.save({key: value.half() for key, value in networks.state_dict().items()}, buffer)
    for old in WEIGHTS.glob(f"{name}-*.pt"):
        old.unlink()
    path = WEIGHTS / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pt"
    path.write_bytes(buffer.getvalue())
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
