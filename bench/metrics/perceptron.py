"""What the replica method says of binary perceptrons whose weights have means m in [-1, 1], with one teacher and then another.

A student of N weights sees alpha N patterns x in {+-1}^N with the labels of a teacher W in {+-1}^N. It is drawn from exp(-b E) dm,

    E = sum_mu -ln H(-y_mu sum_i m_i x_i / sqrt(sum_i (1 - m_i^2))) + KL(q_m || q_m'),    H(x) = erfc(x / sqrt 2) / 2,

without the KL for the first teacher; m' is a student of the first teacher when the second one teaches. Replica symmetric, of large N, with
the overlaps q of two students, s of a student with itself, r with its teacher, and their conjugates q^, s^, r^ (Li et al. 2023):

    phi = q q^ / 2 - s s^ - r r^ + alpha G_E(q, s, r) + G_S(q^, s^, r^)
    G_E = 2 int Dz H(z r / sqrt(q - r^2)) ln int Dx H((sqrt(s - q) x + sqrt(q) z) / sqrt(1 - s))^b
    G_S = E int Dz ln int_-1^1 dm exp((s^ - q^/2) m^2 + sqrt(q^) z m + r^ W m - b KL(m || m'))

Patterns of the two teachers are independent, so that E does not couple m and m' by patterns: the KL is a random field of each weight, whose
law is that of the weights of first students. G_S is the mean over it and over W, here with teachers of the overlap r0. (This is the second
student's part of a Franz-Parisi potential; with independent patterns its first part is the first student's problem as it was.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, xlogy

Z = np.linspace(-6.5, 6.5, 131)  # near a load of 1 a spacing of 0.2 moves errors by 0.002
DZ = np.exp(-(Z**2) / 2) * (Z[1] - Z[0]) / np.sqrt(2 * np.pi)
X, _DX = np.polynomial.hermite_e.hermegauss(40)
LOG_DX = np.log(_DX) - np.log(_DX.sum())
M, DM = np.polynomial.legendre.leggauss(32)
LEAST, STEP = 1e-6, 1e-6  # distances that overlaps keep, and of differences
DAMPING, ROUNDS, CLOSE = 0.6, 300, 1e-5


@dataclass(frozen=True)
class Student:
    """Attributes: q, s, r: overlaps. law: probabilities of the means :data:`M`, in units of the teacher's weight."""

    q: float
    s: float
    r: float
    law: np.ndarray

    @property
    def error(self) -> float:
        """Share of patterns that sign(m) answers unlike the teacher."""
        return error_of(float(self.law @ np.sign(M)))


def error_of(overlap: float | np.ndarray) -> float | np.ndarray:
    """Generalisation error arccos(overlap) / pi of a binary student."""
    return np.arccos(np.clip(overlap, -1, 1)) / np.pi


def energetic(q: float, s: float, r: float, b: float) -> float:
    """G_E."""
    inner = log_ndtr(-(np.sqrt(s - q) * X + np.sqrt(q) * Z[:, None]) / np.sqrt(1 - s))
    return float(2 * (DZ * ndtr(-Z * r / np.sqrt(q - r * r))) @ logsumexp(b * inner + LOG_DX, axis=1))


def conjugates(q: float, s: float, r: float, b: float, load: float) -> tuple[float, float, float]:
    """q^, s^, r^ at the overlaps q, s, r."""
    by_q = (energetic(q + STEP / 4, s, r, b) - energetic(q - STEP / 4, s, r, b)) / (STEP / 2)
    by_s = (energetic(q, s + STEP / 4, r, b) - energetic(q, s - STEP / 4, r, b)) / (STEP / 2)
    by_r = (energetic(q, s, r + STEP / 4, b) - energetic(q, s, r - STEP / 4, b)) / (STEP / 2)
    return max(-2 * load * by_q, 0.0), load * by_s, load * by_r


def sites(q_: float, s_: float, r_: float, field: np.ndarray) -> np.ndarray:
    """Laws ``(F, Z, M)`` of m under each row of ``field`` (F, M), a logarithm of weights, and each z."""
    logs = (s_ - q_ / 2) * M**2 + np.sqrt(q_) * Z[:, None] * M + r_ * M + field[:, None, :] + np.log(DM)
    return np.exp(logs - logsumexp(logs, axis=2, keepdims=True))


def solve(load: float, b: float, fields: np.ndarray, weights: np.ndarray) -> tuple[Student, np.ndarray]:
    """The student at a fixed point, and its laws ``(F, M)`` given each of ``fields`` (F, M), which have the probabilities ``weights`` (F,)
    and are in units of the teacher's weight. Damped iteration from small overlaps, at most :data:`ROUNDS`."""
    at, law = np.array([0.1, 0.3, 0.1]), np.zeros_like(fields)
    for _ in range(ROUNDS):
        found = sites(*conjugates(*at, b, load), fields)
        law = np.einsum("fzm,z->fm", found, DZ)
        new = np.array([weights @ ((found @ M) ** 2 @ DZ), weights @ (law @ M**2), weights @ (law @ M)])
        change, at = np.abs(new - at).max(), DAMPING * at + (1 - DAMPING) * new
        at[1] = min(at[1], 1 - 3 * LEAST)
        at[0] = min(max(at[0], LEAST), at[1] - LEAST)
        at[2] = np.clip(at[2], -np.sqrt(at[0] - LEAST / 2), np.sqrt(at[0] - LEAST / 2))
        if change < CLOSE:
            break
    return Student(*map(float, at), weights @ law), law


def first_task(load: float, b: float = 20.0) -> Student:
    """A student of ``load`` N patterns of its only teacher."""
    return solve(load, b, np.zeros((1, len(M))), np.ones(1))[0]


def second_task(first: Student, load: float, overlap: float, b: float = 20.0, kl: float = 1.0) -> tuple[float, float]:
    """Errors about the first and the second teacher of a student that goes on from ``first`` with ``load`` N patterns of a teacher that
    overlaps with the first one by ``overlap``."""
    prior = np.concatenate([first.law * (1 + overlap) / 2, first.law[::-1] * (1 - overlap) / 2])  # W1 = W2, and W1 = -W2
    student, law = solve(load, b, np.tile(-b * kl * divergence(M, M[:, None]), (2, 1)), prior)
    signs, same = law @ np.sign(M), np.repeat([1.0, -1.0], len(M))
    return float(error_of(prior @ (signs * same))), float(student.error)


def divergence(m: np.ndarray, of: np.ndarray) -> np.ndarray:
    """KL of binary weights with the mean ``m`` from those with the mean ``of``, in nats."""
    return sum(xlogy((1 + w * m) / 2, (1 + w * m) / (1 + w * of)) for w in (-1, 1))
