"""Classes held out of a data set: those of CIFAR-10, which tasks of several families hold out, and the images that stand in for it."""

from __future__ import annotations

import numpy as np

from elboard.tasks.data.task import DIGITS_TRAIN, permutation, upsampled_digits

Labelled = tuple[np.ndarray, np.ndarray]

CIFAR10_HELD_OUT = (4, 5, 8, 9)  # deer, dog, ship, truck


def separate(x: np.ndarray, y: np.ndarray, held_out: tuple[int, ...]) -> tuple[Labelled, np.ndarray]:
    """Images and labels of the classes that remain, renumbered from 0 in their order, and the images of the classes held out."""
    out = np.isin(y, held_out)
    return (x[~out], np.unique(y[~out], return_inverse=True)[1]), x[out]


def coloured_digits(split: str) -> Labelled:
    """What smoke budgets take in the place of CIFAR-10: scikit-learn's digits, ``(N, 32, 32, 3)``, 1,400 for training and validation
    ("train") and 397 for the test; each channel is another function of them."""
    x, y = upsampled_digits(32)
    order = permutation(len(y), 0)
    part = order[:DIGITS_TRAIN] if split == "train" else order[DIGITS_TRAIN:]
    return np.stack([x, x // 2, 255 - x], axis=-1)[part], y[part]


def coloured(x: np.ndarray) -> np.ndarray:
    """Grey images ``(N, 28, 28)`` in CIFAR-10's shape ``(N, 32, 32, 3)``: two pixels of black on each side, three equal channels."""
    return np.repeat(np.pad(x, ((0, 0), (2, 2), (2, 2)))[..., None], 3, axis=-1)
