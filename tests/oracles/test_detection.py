"""Metrics of two kinds of examples told apart by scores, against scikit-learn and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from elboard.bench.metrics.conventions import in_range
from elboard.bench.metrics.ood import fpr_ood_positive, link_metrics, ood_metrics

RNG = np.random.default_rng(0)
levels = st.integers(0, 8).map(float)  # few levels: many ties
samples = st.lists(levels, min_size=1, max_size=40).map(np.array)


@given(samples, samples)
def test_detection_is_scikit_learns_with_ties(inside: np.ndarray, outside: np.ndarray) -> None:
    found = ood_metrics(inside, outside)
    label, score = np.r_[np.zeros(len(inside)), np.ones(len(outside))], np.r_[inside, outside]
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)
    assert found["aupr_out"] == pytest.approx(sk.average_precision_score(label, score), abs=1e-12)
    assert found["aupr_in"] == pytest.approx(sk.average_precision_score(1 - label, -score), abs=1e-12)
    links = link_metrics(outside, inside)
    assert (links["auc"], links["ap"]) == (found["auroc"], found["aupr_out"])


@given(samples, samples)
def test_fpr95_by_its_definition(inside: np.ndarray, outside: np.ndarray) -> None:
    found = ood_metrics(inside, outside)
    thresholds = np.unique(np.r_[inside, outside])
    flag = max(t for t in thresholds if (outside >= t).mean() >= 0.95 - 1e-12)
    assert found["fpr95_ood_positive"] == pytest.approx((inside >= flag).mean(), abs=1e-12)
    accept = min(t for t in thresholds if (inside <= t).mean() >= 0.95 - 1e-12)
    assert found["fpr95_id_positive"] == pytest.approx((outside <= accept).mean(), abs=1e-12)


@given(samples, samples)
def test_detection_is_invariant_and_antisymmetric(a: np.ndarray, b: np.ndarray) -> None:
    assert ood_metrics(np.exp(a), np.exp(b)) == ood_metrics(a, b)
    assert ood_metrics(a, b)["auroc"] == pytest.approx(1 - ood_metrics(b, a)["auroc"], abs=1e-12)
    assert all(in_range(name, value) for name, value in ood_metrics(a, b).items())


def test_detection_takes_scores_of_any_kind_of_number() -> None:
    inside, outside = RNG.integers(0, 9, 300), RNG.integers(2, 11, 200)
    exact = ood_metrics(inside.astype(np.float64), outside.astype(np.float64))
    for kind in (np.float32, np.float16, np.int64, np.uint8):
        assert ood_metrics(inside.astype(kind), outside.astype(kind)) == exact
    assert ood_metrics(inside > 4, outside > 4) == ood_metrics((inside > 4) * 1.0, (outside > 4) * 1.0)
    close = np.array([1.0, 1.0 + 1e-12]), np.array([1.0, 1.0 + 2e-12])  # one in single precision
    assert ood_metrics(*close)["auroc"] == 0.625 and ood_metrics(-0.0 * np.ones(2), np.zeros(3))["auroc"] == 0.5


def test_detection_of_many_scores_is_scikit_learns() -> None:
    inside, outside = RNG.standard_normal(4000), RNG.standard_normal(3000) + 1
    for a, b in ((inside, outside), (inside.round(1), outside.round(1)), (inside.astype(np.float32), outside.astype(np.float32))):
        label, score, found = np.r_[np.zeros(len(a)), np.ones(len(b))], np.r_[a, b], ood_metrics(a, b)
        assert found["auroc"] == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)
        assert found["aupr_out"] == pytest.approx(sk.average_precision_score(label, score), abs=1e-12)
        assert found["aupr_in"] == pytest.approx(sk.average_precision_score(1 - label, -score), abs=1e-12)
        false, true, _ = sk.roc_curve(label, score, drop_intermediate=False)
        assert found["fpr95_ood_positive"] == pytest.approx(false[true >= 0.95].min(), abs=1e-12)
        for share in (0.8, 0.95):
            assert fpr_ood_positive(a, b, share) == pytest.approx(false[true >= share].min(), abs=1e-12)
        accepted, kept, _ = sk.roc_curve(1 - label, -score, drop_intermediate=False)
        assert found["fpr95_id_positive"] == pytest.approx(accepted[kept >= 0.95].min(), abs=1e-12)


def test_detection_extremes() -> None:
    perfect = ood_metrics(np.zeros(5), np.ones(3))
    assert perfect == {"auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "fpr95_ood_positive": 0.0, "fpr95_id_positive": 0.0}
    assert ood_metrics(np.zeros(5), np.zeros(3))["auroc"] == 0.5
    with pytest.raises(ValueError, match="both kinds"):
        ood_metrics(np.zeros(0), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        ood_metrics(np.array([np.nan]), np.ones(3))
