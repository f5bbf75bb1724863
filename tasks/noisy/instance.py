"""Labels that are wrong depending on the image (part-dependent noise of Xia et al. 2020, algorithm 2).

Of each image x_i, flat and scaled to [0, 1], with the true class y_i of C classes:

    q_i ~ N(tau, 0.1^2) truncated to [0, 1];    W_1, .., W_C (S, C) with entries ~ N(0, 1);    a = x_i W_{y_i},  a_{y_i} = -inf
    P(given = y_i) = 1 - q_i,    P(given = j) = q_i softmax(a)_j

so that images that look alike have the same wrong labels, and a class has no transition matrix that holds for all of its images.
The expected share of wrong labels is the mean of the truncated law, which for tau = 0.4 is tau up to 2e-5.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from scipy.stats import norm

from elboard.tasks.noisy.base import CORRUPTION_SEED, NoisyLabels, drawn_labels

SPREAD = 0.1  # of the rates of images


def flip_rates(n: int, rate: float, random: np.random.RandomState) -> np.ndarray:
    """q ``(n,)``, by the inverse of the truncated law's distribution function."""
    low, high = norm.cdf([(0 - rate) / SPREAD, (1 - rate) / SPREAD])
    return np.clip(rate + SPREAD * norm.ppf(low + (high - low) * random.random_sample(n)), 0.0, 1.0)


def given_probabilities(x: np.ndarray, clean: np.ndarray, n_classes: int, rate: float, random: np.random.RandomState) -> np.ndarray:
    """P(given = j) ``(N, C)`` of images ``x`` (N, S) and their true classes ``clean`` (N,)."""
    q, p = flip_rates(len(x), rate, random), np.zeros((len(x), n_classes))
    for true in range(n_classes):
        of, a = clean == true, x[clean == true] @ random.standard_normal((x.shape[1], n_classes))
        a[:, true] = -np.inf
        p[of] = q[of, None] * softmax(a, axis=1)
    p[np.arange(len(x)), clean] = 1 - q
    return p


class InstanceNoise(NoisyLabels):
    """A task whose :attr:`noise_rate` is tau; there is no :attr:`transition`."""

    def corrupted(self, x: np.ndarray, clean: np.ndarray) -> np.ndarray:
        random = np.random.RandomState(CORRUPTION_SEED)
        p = given_probabilities(x.reshape(len(x), -1) / self.levels, clean, self.n_classes, self.noise_rate, random)
        return drawn_labels(p, random)
