"""Unlearning: what is left of examples that a model was to forget, beside the model retrained without them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

TREES = 100


def confusion(given: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts ``(C, C)``, rows the given classes ``(N,)``, columns the predicted ones."""
    return np.bincount(given * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy_of(counts: np.ndarray) -> float:
    """Accuracy of rows of a confusion matrix whose diagonal is that of the whole: ``(C, C)`` with rows set to 0; 0 of none."""
    return float(np.trace(counts) / max(1, counts.sum()))


def membership(members: np.ndarray, others: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Which of ``of`` (M, C) an attack takes for training examples, boolean ``(M,)``, by probabilities of the model that it attacks.

    It is trained on the probabilities of known ``members`` (N, C) of the training data and of ``others`` (K, C), each vector sorted, so
    that it knows how sure a model is and not of what; both sides have equal weight, and where they are about as many one in two is
    chance. Boosted trees of scikit-learn in the place of XGBoost's, with the latter's usual settings: 100 trees of depth 6, rate 0.3, ridge
    penalty 1, histograms of 255 bins. None where a side is empty.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not len(members) or not len(others) or not len(of):
        return np.zeros(len(of), dtype=bool)
    x = np.sort(np.concatenate([members, others]).astype(np.float64), axis=1)[:, ::-1]
    y = np.arange(len(x)) < len(members)
    attack = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=0.3,
        max_depth=6,
        max_leaf_nodes=None,
        min_samples_leaf=1,
        l2_regularization=1.0,
        early_stopping=False,
        class_weight="balanced",
        random_state=0,
    )
    return attack.fit(x, y).predict(np.sort(of.astype(np.float64), axis=1)[:, ::-1])


def values(seen: Mapping[str, np.ndarray], forgotten: np.ndarray) -> dict[str, float]:
    """Accuracies and the attack's success of one model.

    Args:
        seen: confusion matrices ``remaining`` and ``forget`` of training and ``held`` of held-out examples, and ``attacked`` (M,), the
            examples to be forgotten that :func:`membership` took for training examples.
        forgotten: boolean ``(C,)``, classes of which all examples are to be forgotten.
    """
    held = seen["held"]
    found = {
        "remaining_accuracy/train": accuracy_of(seen["remaining"]),
        "remaining_accuracy/test": accuracy_of(held * ~forgotten[:, None]),
        "forget_accuracy/train": accuracy_of(seen["forget"]),
        "attack_success": float(seen["attacked"].mean()) if len(seen["attacked"]) else 0.0,
    }
    return found | ({"forget_accuracy/test": accuracy_of(held * forgotten[:, None])} if forgotten.any() else {})


def gaps(found: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
    """Absolute differences of :func:`values` from those of the retrained model, ``retrain_gap/<which>``, and their mean ``retrain_gap``."""
    of = {name: abs(value - retrained[name]) for name, value in found.items()}
    short = {name: name.replace("_accuracy/", "-").replace("attack_success", "attack") for name in of}
    return {"retrain_gap": float(np.mean([*of.values()])), **{f"retrain_gap/{short[name]}": value for name, value in of.items()}}
