"""Optima of linear variational autoencoders in closed form, and how far trained ones are from them.

Notation of Dang et al. 2024, with a standard normal prior (their eta_enc = 1): theta_i^2 are eigenvalues of the covariance that the codes
have to explain (for a conditional model that of the residuals of y given x), beta the weight of the KL term, eta (``noise``) the standard
deviation of the decoder. Per mode i: ``decoder``, the singular value lambda_i of the decoder, and ``share``, that of the signal in the
variance of the code, omega_i^2 / (omega_i^2 + sigma_i^2), which no choice of the codes' basis or scale changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ACTIVE = 0.01  # share of the signal above which a unit is active: for a learned sigma that of Burda et al. 2016, Var_x E[z|x] > 0.01


class Modes(NamedTuple):
    """Of one level, each ``(Z,)``."""

    decoder: np.ndarray
    share: np.ndarray

    @property
    def active(self) -> int:
        return int((self.share > ACTIVE).sum())


def one_level(theta2: np.ndarray, beta: float, noise: float, held: float = 0.0, prior: float = 1.0) -> Modes:
    """The optimum of a single level for eigenvalues ``theta2`` (Z,), largest first.

    Args:
        held: the encoder variance sigma^2 where it is fixed; 0: learned. A mode collapses where theta^2 <= beta noise^2, or with a fixed
            sigma where theta <= sqrt(beta) sigma noise.
        prior: variance of the prior.
    """
    theta, eta_enc = np.sqrt(theta2), np.sqrt(prior)
    if not held:
        excess = np.maximum(0.0, theta2 - beta * noise**2)
        return Modes(np.sqrt(excess) / eta_enc, excess / theta2)
    sigma, root = np.sqrt(held), np.sqrt(beta) * noise
    t = np.maximum(0.0, theta - root * sigma / eta_enc)
    signal = eta_enc * sigma / root * t
    return Modes(np.sqrt(root / (eta_enc * sigma) * t), signal / (signal + held))


def two_levels(theta2: np.ndarray, beta: float, top: float, noise: float, held: float = 0.0) -> list[Modes]:
    """The optimum of the Markovian hierarchical model, the lower level first. The upper encoder variance is learned.

    Args:
        held: the lower encoder variance sigma_1^2 where it is fixed; 0: learned. Then the optimum is finite for top > beta alone, and the
            upper level collapsed whatever the data.

    Raises ValueError where there is no finite optimum.
    """
    ratio = top / beta * noise**2
    if not held:
        if top <= beta:
            raise ValueError(f"top={top:g} <= beta={beta:g}: with both encoder variances learned there is no finite optimum")
        nothing = np.zeros(len(theta2))
        return [one_level(theta2, beta, noise, prior=noise**2), Modes(nothing, nothing)]
    theta, sigma2 = np.sqrt(theta2), held
    both = theta2 >= max(ratio * top * noise**2 / sigma2, top * noise**2)
    lower = ~both & (theta > np.sqrt(beta * sigma2))
    s = np.where(both, theta2 * sigma2 / (top * noise**2), np.where(lower, theta * np.sqrt(sigma2 / beta), sigma2))  # of z_1
    signal = s - sigma2
    above = np.maximum(0.0, s - ratio)
    order = np.argsort(-above, kind="stable")  # modes of the upper level: those of the lower level's codes, largest first
    return [Modes(theta * np.sqrt(signal) / s, signal / s), Modes(np.sqrt(above)[order], (above / s)[order])]


def gaps(measured: Modes, predicted: Modes, scale: float) -> dict[str, float]:
    """Largest differences over the modes: of active units, of singular values in units of ``scale``, of shares."""
    return {
        "collapse_gap": float(abs(measured.active - predicted.active)),
        "singular_gap": float(np.abs(np.sort(measured.decoder) - np.sort(predicted.decoder)).max() / scale),
        "share_gap": float(np.abs(np.sort(measured.share) - np.sort(predicted.share)).max()),
    }


def collapsed(kl: np.ndarray, eps: float, delta: float) -> int:
    """Units whose KL ``(N, Z)`` is below ``eps`` for a share of at least 1 - delta of the examples (Lucas et al. 2019)."""
    return int(((kl < eps).mean(axis=0) >= 1 - delta).sum())


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau of two sequences ``(n,)`` without ties in ``a``: (concordant - discordant pairs) / pairs."""
    i, j = np.triu_indices(len(a), 1)
    return float((np.sign(a[j] - a[i]) * np.sign(b[j] - b[i])).mean())
