"""What features and uncertainties of images are worth: probes, nearest neighbours, accuracy by certainty, spread."""

from __future__ import annotations

import numpy as np

from elboard.bench.metrics.dynamics import spearman
from elboard.bench.metrics.ranking import smallest

NEIGHBOURS, FIFTHS = 20, 5
TINY = 1e-8


def linear_probe(known: np.ndarray, y: np.ndarray, features: np.ndarray, n_classes: int, penalty: float = 1.0) -> np.ndarray:
    """Probabilities ``(N, C)`` for ``features`` (N, F) by multinomial logistic regression on ``known`` (M, F) with classes ``y`` (M,).

    Features are standardised by the mean and standard deviation of ``known``; ``penalty / 2`` times the sum of squared weights, without
    the biases, is added to the summed cross-entropy. A class that ``y`` lacks has probability 0.
    """
    from sklearn.linear_model import LogisticRegression

    p = np.zeros((len(features), n_classes))
    present = np.unique(y)
    if len(present) == 1:
        p[:, present[0]] = 1.0
        return p
    known, features = known.astype(np.float64), features.astype(np.float64)
    mean, scale = known.mean(0), np.maximum(known.std(0), TINY)
    fitted = LogisticRegression(C=1 / penalty, max_iter=1000).fit((known - mean) / scale, y)
    p[:, fitted.classes_] = fitted.predict_proba((features - mean) / scale)
    return p


def nearest_classes(known: np.ndarray, y: np.ndarray, features: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """The most frequent class ``(N,)`` among the ``k`` rows of ``known`` with the largest cosine similarity, a vote each; the lowest of
    several."""
    similarity = _unit(features) @ _unit(known).T
    votes = (y[smallest(-similarity, k)][:, :, None] == np.arange(y.max() + 1)).sum(1)
    return votes.argmax(1)


def accuracy_by_certainty(hit: np.ndarray, uncertainty: np.ndarray, parts: int = FIFTHS) -> np.ndarray:
    """Mean of ``hit`` (N,) in as many parts of the images, sorted from the least certain on, whose sizes differ by one at most."""
    order = np.argsort(-np.asarray(uncertainty, dtype=np.float64), kind="stable")
    return np.array([np.asarray(hit, dtype=np.float64)[part].mean() for part in np.array_split(order, parts)])


def trend(values: np.ndarray) -> float:
    """Spearman correlation of a sequence with its positions."""
    return spearman(values, np.arange(len(values)))


def rise(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the images whose value is larger ``after``; equal ones count half."""
    return float(((after > before) + 0.5 * (after == before)).mean())


def embedding_std(embeddings: np.ndarray) -> float:
    """Mean over the d dimensions of the standard deviation of rows of length 1, times sqrt(d): between 0 and 1."""
    return float(_unit(embeddings).std(0).mean() * np.sqrt(embeddings.shape[1]))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
