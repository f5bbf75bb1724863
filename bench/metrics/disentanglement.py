"""Disentanglement: how codes stand to the factors of variation that examples were made from, and to each other.

Codes are ``(N, L)``, factors ``(N, K)`` integers from 0. Two steps: statistics of codes and factors (matrices ``(L, K)`` or ``(L, L)``),
and scores of these statistics, so that what is kept of a run is small. All in nats and double precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 20  # equal-width ones, each code over its own range (Locatello et al. 2019)
GROUP, VOTES = 64, 800  # examples that share a factor, and votes to learn from and as many to test (Kim & Mnih 2018, section 4)
DEAD = 0.05  # the variance below which a code has no vote (Locatello et al. 2019)
TREES = 20
TYPES = ("active", "mixed", "passive")


# --- statistics --------------------------------------------------------------------------------


def binned(codes: np.ndarray) -> np.ndarray:
    """Bins 0 to 19 of each code, of equal width between its smallest and its largest value; a constant one has one bin."""
    codes = np.asarray(codes, dtype=np.float64)
    low, high = codes.min(axis=0), codes.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    return np.minimum((codes - low) / width * BINS, BINS - 1).astype(np.int64)


def entropy(counts: np.ndarray) -> float:
    """Of the distribution with these counts, of any shape."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def discrete_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors of integers from 0, by their joint counts; biased upwards by about (bins of a - 1)(bins of b - 1) / (2 N)."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1)
    return max(0.0, entropy(joint.sum(axis=1)) + entropy(joint.sum(axis=0)) - entropy(joint))


def information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Mutual information of each binned code and factor, ``(L, K)``."""
    bins = binned(codes)
    return np.array([[discrete_mutual_information(code, factor) for factor in factors.T] for code in bins.T])


def pairwise_information(codes: np.ndarray) -> np.ndarray:
    """Mutual information of each two binned codes, ``(L, L)``, on the diagonal their entropies."""
    bins, n = binned(codes), codes.shape[1]
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            found[i, j] = found[j, i] = discrete_mutual_information(bins[:, i], bins[:, j])
    return found


def entropies(factors: np.ndarray) -> np.ndarray:
    """Of each factor, ``(K,)``."""
    return np.array([entropy(np.bincount(factor)) for factor in factors.T])


def importances(codes: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much each code matters to trees that predict each factor, ``(L, K)``, and their accuracy on the other half, ``(K,)``.

    Bagged trees that may split on every code (a random forest that draws codes would find some use for those without information).
    """
    from sklearn.ensemble import RandomForestClassifier

    half = len(codes) // 2
    found, right = np.zeros((codes.shape[1], factors.shape[1])), np.zeros(factors.shape[1])
    for k, factor in enumerate(factors.T):
        trees = RandomForestClassifier(TREES, max_features=None, min_samples_leaf=2, random_state=0).fit(codes[:half], factor[:half])
        found[:, k], right[k] = trees.feature_importances_, trees.score(codes[half:], factor[half:])
    return found, right


def predictability(codes: np.ndarray, factors: np.ndarray, continuous: Sequence[bool]) -> np.ndarray:
    """How well each code alone predicts each factor linearly, ``(L, K)`` (Kumar et al. 2018, section 3).

    Of a continuous factor the squared correlation, 0 for a code with a variance below 1e-12; of another one the balanced accuracy of a
    linear support vector machine (C = 0.01) on the other half of the examples.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.svm import LinearSVC

    codes, half = np.asarray(codes, dtype=np.float64), len(codes) // 2
    found = np.zeros((codes.shape[1], factors.shape[1]))
    for k, factor in enumerate(factors.T):
        for i, code in enumerate(codes.T):
            if continuous[k]:
                usable = code.var() >= 1e-12 and factor.var() > 0
                found[i, k] = np.corrcoef(code, factor)[0, 1] ** 2 if usable else 0.0
            elif len(np.unique(factor[:half])) > 1:
                machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(code[:half, None], factor[:half])
                found[i, k] = balanced_accuracy_score(factor[half:], machine.predict(code[half:, None]))
    return found


def votes(codes: np.ndarray, factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Votes of groups of examples that share a value of one factor for the code that varies least in them: ``(2, L, K)``, those to learn
    the majority from and those to test it.

    The variance in a group is taken relative to that over all examples. Groups are drawn from the examples at hand, with replacement.
    """
    codes = np.asarray(codes, dtype=np.float64)
    spread = codes.var(axis=0, ddof=1)
    alive = np.flatnonzero(spread >= DEAD)
    found = np.zeros((2, codes.shape[1], factors.shape[1]), dtype=np.int64)
    if not len(alive):
        return found
    for vote in range(2 * VOTES):
        k = int(rng.integers(factors.shape[1]))
        same = np.flatnonzero(factors[:, k] == factors[rng.integers(len(factors)), k])
        group = codes[rng.choice(same, GROUP)][:, alive]
        found[vote % 2, alive[np.argmin(group.var(axis=0, ddof=1) / spread[alive])], k] += 1
    return found


def logistic_accuracy(codes: np.ndarray, factors: np.ndarray) -> float:
    """Of logistic regressions that predict each factor, learned on the first half of the examples, on the other; the mean over factors."""
    from sklearn.linear_model import LogisticRegression

    half = len(codes) // 2
    right = []
    for factor in factors.T:
        if len(np.unique(factor[:half])) > 1:
            model = LogisticRegression(max_iter=500, tol=1e-3).fit(codes[:half], factor[:half])
            right.append(model.score(codes[half:], factor[half:]))
    return float(np.mean(right)) if right else 1.0


# --- scores of factors -------------------------------------------------------------------------


def gap(scores: np.ndarray) -> np.ndarray:
    """The largest of each column minus the second largest; the largest itself where there is one row alone."""
    ordered = np.sort(np.vstack([scores, np.zeros((1, scores.shape[1]))]) if len(scores) < 2 else scores, axis=0)
    return ordered[-1] - ordered[-2]


def mig(information: np.ndarray, entropies: np.ndarray) -> float:
    """Mutual information gap: the mean over factors of the gap over the factor's entropy (Chen et al. 2018, eq. 6)."""
    return float(np.mean(gap(information) / np.maximum(entropies, 1e-12)))


def sap(scores: np.ndarray) -> float:
    """The mean gap of :func:`predictability` (Kumar et al. 2018)."""
    return float(np.mean(gap(scores)))


def modularity(information: np.ndarray) -> float:
    """The mean over codes of 1 - sum of the squared information about other factors than the best, relative to the best one's, over K - 1
    (Ridgeway & Mozer 2018, section 3.1); 0 for a code without information."""
    squared = np.asarray(information, dtype=np.float64) ** 2
    best, others = squared.max(axis=1), squared.shape[1] - 1
    told = best > 0
    if not others:
        return float(told.mean())
    return float(np.sum(1 - (squared[told].sum(axis=1) - best[told]) / (best[told] * others)) / len(squared))


def dci(importances: np.ndarray) -> tuple[float, float]:
    """Disentanglement and completeness: one minus the entropy, in base K of a code's importances over factors and in base L of a factor's
    over codes, the means weighted by importance (Eastwood & Williams 2018, section 2)."""

    def one_minus_entropy(rows: np.ndarray) -> float:
        total = rows.sum(axis=1)
        used = total > 0
        if rows.shape[1] < 2 or not used.any():
            return float(used.any())
        p = rows[used] / total[used, None]
        spread = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(axis=1) / np.log(rows.shape[1])
        return float(np.average(1 - spread, weights=total[used]))

    importances = np.asarray(importances, dtype=np.float64)
    return one_minus_entropy(importances), one_minus_entropy(importances.T)


def factorvae_score(votes: np.ndarray) -> float:
    """Accuracy of the classifier that gives each code the factor of most votes (Kim & Mnih 2018), on the other votes; 0 without any."""
    learned, tested = votes
    chosen = learned.argmax(axis=1)
    return float(tested[np.arange(len(tested)), chosen].sum() / max(1, tested.sum()))


# --- scores of codes ---------------------------------------------------------------------------


def correlation(covariance: np.ndarray) -> np.ndarray:
    """The correlation matrix; of a code without variance 0 with the others."""
    covariance = np.asarray(covariance, dtype=np.float64)
    std = np.sqrt(np.diag(covariance))
    scale = np.where(std > 0, 1 / np.where(std > 0, std, 1.0), 0.0)
    found = covariance * scale * scale[:, None]
    np.fill_diagonal(found, 1.0)
    return found


def total_correlation(covariance: np.ndarray) -> float:
    """Of the Gaussian with this covariance, ``1/2 (sum_j ln S_jj - ln det S)``, by the correlation matrix, as variances may be tiny.

    Of a singular one that of the nearest whose eigenvalues are 1e-12 at least.
    """
    values = np.linalg.eigvalsh(correlation(covariance))
    return float(max(0.0, -0.5 * np.log(np.maximum(values, 1e-12)).sum()))


def effective_rank(covariance: np.ndarray) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli 2007); 0 of nothing."""
    values = np.linalg.svd(np.asarray(covariance, dtype=np.float64), compute_uv=False)
    return float(np.exp(entropy(values))) if values.sum() > 0 else 0.0


def off_diagonal(matrix: np.ndarray) -> float:
    """The mean absolute value off the diagonal."""
    n = len(matrix)
    return float(np.abs(matrix[~np.eye(n, dtype=bool)]).mean())


def types(mean: np.ndarray, variance: np.ndarray) -> dict[str, np.ndarray]:
    """The units of each type as masks, by mean and variance over examples of the posterior's variance sigma^2, both ``(L,)``.

    A unit is passive where its variance is that of the prior, active where it is small for all examples, and else mixed (Bonheme & Grzes
    2023): a partition.
    """
    steady = variance < 0.1
    passive, active = steady & (mean >= 0.9) & (mean <= 1.1), steady & (mean <= 0.1)
    return {"active": active, "mixed": ~passive & ~active, "passive": passive}


def passive_correlation(covariance: np.ndarray, passive: np.ndarray, others: np.ndarray) -> float:
    """The largest absolute correlation of a passive unit with one of ``others``, never with itself, mean over passive units (Bonheme and
    Grzes 2023); both are masks ``(L,)``, and each passive unit needs another one."""
    found = np.abs(correlation(covariance))
    np.fill_diagonal(found, 0.0)
    return float(found[passive][:, others].max(axis=1).mean())
