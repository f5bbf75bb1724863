"""Metrics against independent oracles: scikit-learn, SciPy, torchmetrics, closed forms, brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from elboard.bench.errors import UserError
from elboard.bench.metrics import calibration, generation, noisy, ranking
from elboard.bench.metrics.conventions import bare, better, check_name, convention, conventions, in_range, parse
from elboard.tasks.data.task import half_precision_slack, tie_slack

RNG = np.random.default_rng(0)


# --- classification ----------------------------------------------------------------------------

probabilities = arrays(np.float64, (30, 4), elements=st.floats(0.01, 1)).map(lambda a: a / a.sum(1, keepdims=True))
labels = arrays(np.int64, 30, elements=st.integers(0, 3))


@given(probabilities, labels)
def test_scores_are_scikit_learns(p: np.ndarray, y: np.ndarray) -> None:
    found = calibration.classification_metrics(p, y)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p.argmax(1)), abs=1e-12)
    assert found["class_nll"] == pytest.approx(sk.log_loss(y, p, labels=range(4)), abs=1e-9)
    assert found["entropy"] == pytest.approx(scipy.stats.entropy(p, axis=1).mean(), abs=1e-9)
    per_class = sum(sk.brier_score_loss(y == c, p[:, c], pos_label=True) for c in range(4) if len(set(y == c)) == 2)
    per_class += sum(((p[:, c] - (y == c)) ** 2).mean() for c in range(4) if len(set(y == c)) == 1)
    assert found["brier"] == pytest.approx(per_class, abs=1e-9)
    assert all(in_range(name, value) for name, value in found.items())


def brute_ece(confidence: np.ndarray, hit: np.ndarray, bins: int) -> float:
    total = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins) | (i == 0) & (confidence == 0)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    return total


@given(probabilities, labels)
def test_ece_by_brute_force(p: np.ndarray, y: np.ndarray) -> None:
    hit = (p.argmax(1) == y).astype(float)
    assert calibration.ece(p, y) == pytest.approx(brute_ece(p.max(1), hit, 15), abs=1e-9)
    classwise = np.mean([brute_ece(p[:, c], (y == c).astype(float), 15) for c in range(4)])
    assert calibration.classwise_ece(p, y) == pytest.approx(classwise, abs=1e-9)
    assert calibration.adaptive_ece(p, y) == pytest.approx(brute_adaptive_ece(p.max(1), hit, 15), abs=1e-9)


def brute_adaptive_ece(confidence: np.ndarray, hit: np.ndarray, bins: int) -> float:
    """Hits of examples of equal confidence spread evenly over the places that these take among the sorted ones: their sum up to a border
    is linear within such a group."""
    values = np.unique(confidence)
    ends = np.array([0, *(np.sum(confidence <= value) for value in values)])
    hits = np.array([0, *(hit[confidence <= value].sum() for value in values)])
    confidences = np.array([0, *(confidence[confidence <= value].sum() for value in values)])
    borders = np.cumsum([0, *map(len, np.array_split(confidence, bins))])
    gaps = np.diff(np.interp(borders, ends, confidences)) - np.diff(np.interp(borders, ends, hits))
    return float(np.abs(gaps).sum() / len(confidence))


def test_adaptive_ece_is_of_the_mean_gaps_over_orders_of_equal_confidences() -> None:
    confidence, hit = np.repeat([0.6, 0.7, 0.9], [11, 20, 9]), RNG.random(40) < 0.7
    gaps = []
    for _ in range(20_000):
        order = np.lexsort([RNG.random(40), confidence])
        gaps.append([(confidence[part] - hit[part]).sum() for part in np.array_split(order, 15)])
    p, y = np.stack([confidence, 1 - confidence], axis=1), (~hit).astype(int)
    assert calibration.adaptive_ece(p, y) == pytest.approx(np.abs(np.mean(gaps, axis=0)).sum() / 40, abs=2e-3)


def test_ece_is_torchmetrics_away_from_the_edges() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    p = RNG.dirichlet(np.ones(5), 2000)
    y = RNG.integers(0, 5, 2000)
    theirs = multiclass_calibration_error(torch.tensor(p), torch.tensor(y), num_classes=5, n_bins=15, norm="l1").item()
    assert calibration.ece(p, y) == pytest.approx(theirs, abs=1e-6)


def test_confidence_one_belongs_to_the_last_bin() -> None:
    confidence = np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 14 / 15, 0.999, 1.0])
    assert calibration.equal_width_bins(confidence).tolist() == [0, 0, 1, 13, 14, 14]
    p = np.array([[1.0, 0.0], [0.95, 0.05]])
    assert calibration.ece(p, np.array([1, 0])) == pytest.approx(abs(0.975 - 0.5))


# --- ranking -----------------------------------------------------------------------------------

matrices = arrays(np.float64, (6, 12), elements=st.integers(0, 5).map(float))
masks = arrays(np.bool_, (6, 12))


@given(matrices, masks, masks)
def test_ranking_by_brute_force(scores: np.ndarray, history: np.ndarray, targets: np.ndarray) -> None:
    targets &= ~history
    kept = targets.any(axis=1)
    recalls, ndcgs = [], []
    for u in range(len(scores)):
        wanted = set(np.flatnonzero(targets[u]))
        if not wanted:
            continue
        order = sorted((i for i in range(12) if not history[u, i]), key=lambda i: (-scores[u, i], i))
        order += [i for i in range(12) if history[u, i]]
        recalls.append(len(wanted & set(order[:3])) / min(3, len(wanted)))
        gain = sum(1 / math.log2(rank + 2) for rank, item in enumerate(order[:5]) if item in wanted)
        ndcgs.append(gain / sum(1 / math.log2(rank + 2) for rank in range(min(5, len(wanted)))))
    found = ranking.per_user(ranking.top_items(scores[kept], history[kept], 5), targets[kept], (3,), (5,))
    assert found["recall@3"] == pytest.approx(recalls, abs=1e-12)
    assert found["ndcg@5"] == pytest.approx(ndcgs, abs=1e-12)


def test_ndcg_is_scikit_learns_without_ties() -> None:
    scores, targets = RNG.random((50, 40)), RNG.random((50, 40)) < 0.1
    targets[:, 0] = True
    found = ranking.per_user(ranking.top_items(scores, np.zeros_like(targets), 40), targets, (5,), (10, 40))
    assert found["ndcg@40"].mean() == pytest.approx(sk.ndcg_score(targets, scores), abs=1e-12)
    assert found["ndcg@10"].mean() == pytest.approx(sk.ndcg_score(targets, scores, k=10), abs=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("k", [1, 5, 29, 30, 40])
def test_lists_are_those_of_a_stable_sort_whatever_is_equal(levels: int, k: int) -> None:
    rng = np.random.default_rng(levels)
    scores, history = rng.integers(levels, size=(200, 30)).astype(np.float32), rng.random((200, 30)) < rng.random((200, 1))
    sorted_ = np.argsort(np.where(history, np.inf, -scores), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(ranking.top_items(scores, history, k), sorted_)


def test_ranking_refuses_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        ranking.top_items(np.full((1, 3), np.nan), np.zeros((1, 3)), 1)


# --- generation --------------------------------------------------------------------------------


def spd(d: int) -> np.ndarray:
    a = RNG.standard_normal((d, d))
    return a @ a.T / d


def test_frechet_distance_is_scipys() -> None:
    for d in (1, 3, 20):
        c1, c2, m1, m2 = spd(d), spd(d), RNG.standard_normal(d), RNG.standard_normal(d)
        expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(scipy.linalg.sqrtm(c1 @ c2)))
        assert generation.frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, abs=1e-8)


def test_frechet_distance_of_known_gaussians() -> None:
    eye, zero = np.eye(4), np.zeros(4)
    assert generation.frechet_distance(zero, eye, zero, 9 * eye) == pytest.approx(4 * (3 - 1) ** 2)
    assert generation.frechet_distance(zero, eye, np.full(4, 0.5), eye) == pytest.approx(1.0)
    singular = np.diag([1.0, 0.0, 0.0, 2.0])
    assert generation.frechet_distance(zero, singular, zero, singular) == pytest.approx(0.0, abs=1e-12)
    assert generation.frechet_distance(zero, singular, zero, eye) == pytest.approx(2 + (math.sqrt(2) - 1) ** 2)


def covariance_of(rows: int, columns: int, dead: int = 0) -> np.ndarray:
    """Of features as networks give them, the first ``dead`` of which never fire."""
    rng = np.random.default_rng([rows, columns, dead])
    x = np.maximum(rng.standard_normal((rows, columns)) @ rng.standard_normal((columns, columns)) / math.sqrt(columns) + 0.5, 0)
    x[:, :dead] = 0
    return np.cov(x, rowvar=False)


INDEFINITE = covariance_of(40, 40) - 1e-6 * np.eye(40)  # as rounded evidence may be


@pytest.mark.parametrize(
    ("c1", "definite"),
    [
        (covariance_of(200, 40), True),
        (covariance_of(41, 40), True),
        (covariance_of(12, 40), False),
        (covariance_of(200, 40, dead=3), False),
        (INDEFINITE, False),
    ],
    ids=["many rows", "just enough rows", "few rows", "dead features", "indefinite"],
)
@pytest.mark.filterwarnings("ignore:Matrix is singular")
def test_frechet_distance_by_cholesky_and_by_eigenvalues_is_one(c1: np.ndarray, definite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Cholesky where the first covariance is positive definite; both ways agree with each other and with SciPy's root of the product."""
    c2, zero = covariance_of(300, 40), np.zeros(40)
    decomposed, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda of: decomposed.append(of) or eigh(of))
    found = generation.frechet_distance(zero, c1, zero, c2)
    assert len(decomposed) == (not definite)
    expected = np.trace(c1 + c2 - 2 * np.real(scipy.linalg.sqrtm(c1 @ c2)))
    monkeypatch.setattr(scipy.linalg, "cholesky", lambda *of, **how: np.linalg.cholesky(-np.eye(2)))
    assert generation.frechet_distance(zero, c1, zero, c2) == pytest.approx(found, rel=1e-10)
    assert found == pytest.approx(expected, rel=1e-9 if definite else 1e-5)


def test_kid_by_brute_force() -> None:
    x, y = RNG.standard_normal((12, 5)), RNG.standard_normal((12, 5)) + 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 5 + 1) ** 3

    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    expected = np.mean([kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs])
    expected -= 2 * np.mean([kernel(a, b) for a in x for b in y])
    found = generation.kid(x, y, subsets=3, subset_size=12, rng=np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=1e-9)


def test_kid_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    draws = [generation.kid(rng.standard_normal((30, 3)), rng.standard_normal((30, 3)), 1, 30, rng) for _ in range(400)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / 20


def test_precision_and_recall_by_brute_force() -> None:
    real, fake = RNG.standard_normal((40, 3)), RNG.standard_normal((35, 3)) * 0.5

    def share(points: np.ndarray, centres: np.ndarray) -> float:
        radii = [sorted(np.linalg.norm(centres - c, axis=1))[3] for c in centres]
        return np.mean([any(np.linalg.norm(p - c) <= r + 1e-12 for c, r in zip(centres, radii, strict=True)) for p in points])

    precision, recall = generation.precision_recall(real, fake, k=3, chunk=7)
    assert (precision, recall) == pytest.approx((share(fake, real), share(real, fake)))
    assert generation.precision_recall(real, real) == (1.0, 1.0)
    assert generation.precision_recall(real, fake + 100) == (0.0, 0.0)


# --- noisy labels and conventions --------------------------------------------------------------


def test_accuracy_over_epochs() -> None:
    test, valid = [0.1, 0.9, 0.8, 0.95], [0.2, 0.7, 0.7, 0.6]
    found = noisy.accuracy_over_epochs(test, valid)
    assert found == {"accuracy_best": 0.9, "accuracy_peak": 0.95, "accuracy_last10": pytest.approx(np.mean(test))}
    assert noisy.accuracy_over_epochs([0.0] * 5 + [1.0] * 10, [0.5] * 15)["accuracy_last10"] == 1.0
    with pytest.raises(ValueError, match="each epoch"):
        noisy.accuracy_over_epochs([], [])
    nan = float("nan")
    assert noisy.accuracy_over_epochs([0.1, 0.2, 0.3], [nan, 0.51, 0.52])["accuracy_best"] == 0.3
    assert noisy.accuracy_over_epochs([nan, 0.2, 0.1], [0.3, 0.2, 0.1])["accuracy_peak"] == 0.2
    of_none = noisy.accuracy_over_epochs([0.1, 0.2], [nan, nan])
    assert np.isnan(of_none["accuracy_best"]) and of_none["accuracy_peak"] == 0.2


def test_nan_is_no_class() -> None:
    p = np.array([[np.nan, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, np.nan, 0.1], [0.1, 0.8, 0.1]])
    assert calibration.accuracy(p, np.array([0, 0, 1, 1])) == 0.5


def test_memorisation_and_selection() -> None:
    clean, given_ = np.array([0, 1, 2, 3]), np.array([0, 1, 0, 0])
    assert noisy.memorised(given_, given_, clean) == 1.0 and noisy.memorised(clean, given_, clean) == 0.0
    assert noisy.memorised(np.array([0, 0, 0, 3]), given_, clean) == 0.5
    assert noisy.memorised(clean, clean, clean) == 0.0
    assert noisy.label_precision(np.array([True, False, True, False]), given_, clean) == 0.5


@pytest.mark.parametrize(
    ("key", "name", "at", "parameters", "part"),
    [
        ("elbo", "elbo", "", "", ""),
        ("ndcg@100", "ndcg", "100", "", ""),
        ("fd[mnist-cnn-1a2b3c4d,n=5000]", "fd", "", "mnist-cnn-1a2b3c4d,n=5000", ""),
        ("auroc/fashion-mnist", "auroc", "", "", "fashion-mnist"),
        ("nll[k=5000]/test", "nll", "", "k=5000", "test"),
    ],
)
def test_keys(key: str, name: str, at: str, parameters: str, part: str) -> None:
    found = parse(key)
    assert (found.name, found.at, found.parameters, found.slice) == (name, at, parameters, part)


@pytest.mark.parametrize("key", ["", "FID", "fd[", "a b", "auroc/", "fd[]"])
def test_bad_keys(key: str) -> None:
    with pytest.raises(UserError, match="not of the form"):
        parse(key)


def test_conventions() -> None:
    assert bare("fd[x,n=1]/y") == "fd/y" and bare("elbo") == "elbo"
    with pytest.raises(UserError, match="no metric 'aurok': did you mean 'auroc'"):
        convention("aurok")
    assert better("elbo", -1, -2) and better("class_nll", 1, 2) and not better("elbo", 1, 1)
    nan = float("nan")
    for key in ("elbo", "class_nll"):
        assert better(key, 1, nan) and not better(key, nan, 1) and not better(key, nan, nan)
    with pytest.raises(UserError, match="no direction"):
        better("kl", 1, 2)
    assert in_range("auroc/near", 1 + 1e-7) and not in_range("auroc/near", 1.01) and in_range("elbo", -1e9)
    assert all(c.direction in ("higher", "lower", "none") and c.title for c in conventions().values())


def test_a_distance_of_a_small_network_is_no_fid() -> None:
    for key in ("fd[mnist-cnn-1a2b3c4d,n=5]", "fid[inception-2015,n=5]", "fid[inception-2015]/part", "elbo", "nll[k=5]"):
        check_name(key)
    for key in ("fid", "fid[mnist-cnn-1a2b3c4d,n=5]", "fid[n=5]", "fid[inception-2016,n=5]"):
        with pytest.raises(ValueError, match="inception-2015 alone"):
            check_name(key)
        assert in_range(key, 1.0), "an old record is read all the same"


@settings(max_examples=20)
@given(arrays(np.float64, (8, 3), elements=st.floats(-5, 5)), st.permutations(range(8)))
def test_distances_do_not_depend_on_order(x: np.ndarray, order: list[int]) -> None:
    y = RNG.standard_normal((10, 3))
    assert generation.precision_recall(x, y, k=2) == generation.precision_recall(x[order], y, k=2)


@pytest.mark.parametrize("sharpness", [1.0, 5.0, 30.0])
def test_half_precision_moves_the_nll_within_its_slack(sharpness: float) -> None:
    rng = np.random.default_rng(0)
    logits = sharpness * rng.standard_normal((500, 10))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    y = rng.integers(0, 10, 500)
    gap = abs(calibration.class_nll(p.astype(np.float16), y) - calibration.class_nll(p, y))
    slack = half_precision_slack(p.astype(np.float16), y)
    assert 0 < gap <= slack and (sharpness > 1 or slack < 1e-3)


@pytest.mark.parametrize("sharpness", [0.001, 0.1, 1.0, 30.0])
def test_rounding_moves_the_adaptive_ece_within_its_slack(sharpness: float) -> None:
    rng = np.random.default_rng(1)
    logits = sharpness * rng.standard_normal((500, 10))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    y = rng.integers(0, 10, 500)
    rounded = p.astype(np.float16).astype(np.float64)
    gap = abs(calibration.adaptive_ece(rounded, y) - calibration.adaptive_ece(p, y))
    slack = tie_slack(rounded, y)
    assert gap <= slack + 1e-3 + 4 / 500 and (sharpness != 1 or slack < 0.15)


def test_equal_confidences_share_their_hits() -> None:
    """30 times confidence .8 with 24 hits: perfect calibration, in whatever order the rows stand."""
    p = np.tile([[0.8, 0.2]], (30, 1))
    for order in (range(30), range(29, -1, -1), RNG.permutation(30)):
        assert calibration.adaptive_ece(p, (np.array(order) >= 24).astype(int)) == pytest.approx(0.0, abs=1e-12)
