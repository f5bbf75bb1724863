"""Data sets as NumPy arrays, in the order of their originals. Each fetches what is missing; DataError if it cannot (tasks.data.fetch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from elboard.tasks.data.fetch import DAMAGED, DataError, fetch

Labelled = tuple[np.ndarray, np.ndarray]


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of the data set ``name``."""
    return _read(name, dict)


def _read(name: str, take: Callable[..., Any]) -> Any:
    """``take(archive)`` of the cached file, whose check sums of zip tell whether it is whole."""
    path = fetch(name)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return take(archive)
    except DAMAGED:
        raise DataError(f"{path} is damaged; delete it and fetch again") from None


def _split(name: str, split: str) -> Labelled:
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r} is neither train nor test")
    return _read(name, lambda archive: (archive[f"{split}_x"], archive[f"{split}_y"].astype(np.int64)))


def digits() -> Labelled:
    """``(1797, 8, 8)`` uint8 of 0 to 16, labels ``(1797,)``; no split of its own."""
    data = arrays("digits")
    return data["x"], data["y"].astype(np.int64)


def mnist(split: str) -> Labelled:
    """``(60000 | 10000, 28, 28)`` uint8 and labels, for "train" or "test"."""
    return _split("mnist", split)


def fashion_mnist(split: str) -> Labelled:
    """``(60000 | 10000, 28, 28)`` uint8 and labels, for "train" or "test"."""
    return _split("fashion-mnist", split)


def notmnist() -> Labelled:
    """The test part: ``(10000, 28, 28)`` uint8, labels 0 to 9 for A to J."""
    return _split("notmnist", "test")


def cifar10(split: str) -> Labelled:
    """``(50000 | 10000, 32, 32, 3)`` uint8 RGB and labels, for "train" or "test"."""
    return _split("cifar10", split)


def cifar100() -> Labelled:
    """The test part: ``(10000, 32, 32, 3)`` uint8 RGB, fine labels 0 to 99."""
    data = arrays("cifar100")
    return data["x"], data["y"].astype(np.int64)


def svhn() -> Labelled:
    """The test part, cropped: ``(26032, 32, 32, 3)`` uint8 RGB, digits."""
    data = arrays("svhn")
    return data["x"], data["y"].astype(np.int64)


def cars3d() -> np.ndarray:
    """``(61, 4, 24, 64, 64, 3)`` uint8 RGB: car, elevation, azimuth (15 degrees apart); no split of its own."""
    return arrays("cars3d")["x"]


def omniglot() -> np.ndarray:
    """``(242, 20, 28, 28)`` uint8, ink 255: character, drawer of its alphabet; no split of its own."""
    return arrays("omniglot")["x"]


def frey_faces() -> np.ndarray:
    """``(1965, 28, 20)`` uint8: frames of one film in their order; no split of its own."""
    return arrays("frey-faces")["images"]


def cifar10n() -> dict[str, np.ndarray]:
    """Labels ``(50000,)`` of the CIFAR-10 training images: clean_label, aggre_label, random_label1..3, worse_label."""
    return {name: labels.astype(np.int64) for name, labels in arrays("cifar10n").items()}


def ml_100k() -> dict[str, np.ndarray]:
    """``user, item, rating, timestamp``, each ``(100000,)``, ids as published, sorted by user and item."""
    return arrays("ml-100k")


def ml_1m() -> dict[str, np.ndarray]:
    """``user, item, rating, timestamp``, each ``(1000209,)``, ids as published, sorted by user and item."""
    return arrays("ml-1m")


def ml_20m() -> dict[str, np.ndarray]:
    """``user, item, rating, timestamp``, each ``(20000263,)``, ids as published, sorted by user and item."""
    return arrays("ml-20m")


def movielens_small() -> dict[str, np.ndarray]:
    """``user, item, rating, timestamp``, each ``(100004,)``, ids as published, sorted by user and item."""
    return arrays("movielens-small")


def planetoid(name: str) -> dict[str, np.ndarray]:
    """ "cora" or "citeseer": ``edges`` (E, 2) with u < v, each once, no loops; ``features`` (N, F) float32; ``labels`` (N,)."""
    return arrays(name)


def efficientnet_lite0() -> dict[str, np.ndarray]:
    """Weights of EfficientNet-Lite0 by the names of the published checkpoint."""
    return arrays("efficientnet-lite0")


def mfeat() -> dict[str, np.ndarray]:
    """Of 2,000 handwritten digits, 200 a class in order: ``fou`` (N, 76) Fourier coefficients, ``fac`` (N, 216) profile correlations,
    ``kar`` (N, 64) Karhunen-Loeve coefficients, ``zer`` (N, 47) Zernike moments, ``mor`` (N, 6) morphological features; ``y`` (N,)."""
    return arrays("mfeat")


def uci(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The table "yacht", "energy", "concrete" or another of ``uci-*``: inputs ``(N, D)`` and targets ``(N,)``."""
    data = arrays(f"uci-{name}")
    return data["x"], data["y"]
