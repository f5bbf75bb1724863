"""Bounds and likelihoods of masked diffusion without sampling, by all 2^L sets of masked positions: of short sequences.

A predictor that does not see the time gives for each set M the numbers -log mu^l(x_M)[x^l]; all else is a sum over sets, and over times
by Gauss and Legendre's rule on panels that narrow towards 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elboard.bench.kinds.text import Predictor

PANELS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0)  # of times: weights may rise to 1 / offset
NODES = 24  # of a panel


def all_sets(length: int, like: Tensor) -> Tensor:
    """(2^L, L) booleans, true where a position is masked; the number of a set has the bits of its positions."""
    return (torch.arange(2**length, device=like.device)[:, None] >> torch.arange(length, device=like.device)) % 2 == 1


def surprises(predict: Predictor, x: Tensor, letters: int) -> Tensor:
    """-log mu^l(x with M masked)[x^l] (B, 2^L, L) in double precision, of the masked positions; 0 of those that are seen."""
    sets = all_sets(x.shape[1], x)
    z = torch.where(sets, letters, x[:, None])
    of_x = -predict(z.flatten(0, 1)).double().unflatten(0, z.shape[:2]).gather(3, x[:, None, :, None].expand(*z.shape, 1))[..., 0]
    return torch.where(sets, of_x, 0.0)


def panels(like: Tensor) -> tuple[Tensor, Tensor]:
    """Times (J,) in (0, 1) and their weights, whose sum is 1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    edges = np.array(PANELS)
    width = np.diff(edges)[:, None]
    times = edges[:-1, None] + width * (nodes + 1) / 2
    return tuple(torch.from_numpy(of.ravel()).to(like.device) for of in (times, width * weights / 2))


def moments(found: Tensor, share: Tensor, weight: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B,) of weight(t) times the summed surprise, t with probabilities ``p`` (J,) and masks of ``share`` (J,).

    ``found`` is of :func:`surprises`.
    """
    n = all_sets(found.shape[2], found).sum(1)
    of_set = share[:, None] ** n * (1 - share)[:, None] ** (found.shape[2] - n)
    total = found.sum(2)
    mean = total @ ((p * weight) @ of_set)
    square = total.square() @ ((p * weight.square()) @ of_set)
    return mean, (square - mean.square()).clamp_min(0.0).sqrt()


def _revealing(found: Tensor, share: float) -> Tensor:
    """Probabilities (B, 2^L, 2^L) of going from one set of masks to another where each is revealed with probability ``share`` by itself,
    and rightly."""
    sets = all_sets(found.shape[2], found)
    inside = (sets[None] <= sets[:, None]).all(2)
    shown = (sets[:, None] & ~sets[None]).to(found.dtype)
    left, n = sets.sum(1).to(found.dtype), shown.sum(2)
    p = share**n * (1 - share) ** left
    return torch.where(inside, p * (-torch.einsum("bml,mnl->bmn", found, shown)).exp(), 0.0)


def _guessing(found: Tensor, letters: int, share: float) -> Tensor:
    """:func:`_revealing` by the uniform law of letters."""
    uniform = float(np.log(letters)) * all_sets(found.shape[2], found).to(found.dtype)
    return _revealing(uniform[None], share)


def _at_first(found: Tensor, letters: int, offset: float) -> Tensor:
    """Probabilities (B, 1, 2^L) of the sets of masks at the start, where a share of ``offset`` of all tokens is guessed, and rightly."""
    return _guessing(found, letters, offset)[:, -1:].expand(len(found), 1, -1)


def _at_last(state: Tensor, found: Tensor, letters: int) -> Tensor:
    """log p(x) (B,), where what is left in ``state`` (B, 1, 2^L) is guessed."""
    return (state @ _guessing(found, letters, 1.0))[:, 0, 0].log()


def log_mass_of_orders(found: Tensor, letters: int, offset: float) -> Tensor:
    """log p(x) (B,) in continuous time, where positions are revealed one by one in an order that is drawn uniformly: whatever the schedule.

    Of its masks at t = 1 each is left at t = 0 with probability offset / (1 - offset); N^k / k! of the matrix N of single steps is the mean
    over orders of k of them.
    """
    length, stays = found.shape[2], offset / (1 - offset)
    sets = all_sets(length, found).to(found.dtype)
    n = sets.sum(1)
    apart = n[:, None] - n[None]
    single = torch.where(apart == 1, _revealing(found, 0.5), 0.0) * 2.0 ** n[:, None]  # without the factors of the share
    after = _at_first(found, letters, offset)
    state = torch.zeros_like(after)
    for k in range(length + 1):
        state = state + after * stays**n * (1 - stays) ** k
        after = after @ single / (k + 1)
    return _at_last(state, found, letters)


def log_mass_of_steps(found: Tensor, letters: int, offset: float, reveal: list[float]) -> Tensor:
    """log p(x) (B,) where at each step each masked position is revealed with the probability of ``reveal`` (T,), all of a step at once."""
    state = _at_first(found, letters, offset)
    for share in reveal:
        state = state @ _revealing(found, share)
    return _at_last(state, found, letters)
