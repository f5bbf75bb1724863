"""Hamiltonian Monte Carlo (Neal 2011) for ``posterior/bnn``, and the reference that it left: ``python -m elboard.tasks.posterior.hmc``.

Chains side by side from draws of the prior, one step size, adapted in the first half of the iterations to accept four proposals of five and
fixed from there on; as many leapfrog steps as a uniform draw from ``LEAPS``, so that no orbit closes. Of the second half every
``THIN``-th position counts. Written to ``tasks/data/files/bnn_hmc.npz``: quantiles of the network's function at the task's test inputs, its
mean and standard deviation, the largest split R-hat over those inputs (Gelman et al. 2013, section 11.4), the rate of acceptance.

The chains, in double precision, take half a minute of one core; the reference is not made again by any run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "data" / "files" / "bnn_hmc.npz"
CHAINS, ITERATIONS, LEAPS, THIN = 8, 3000, (20, 60), 5
ACCEPTED = 0.8

Density = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def sample(density: Density, start: np.ndarray, iterations: int, leaps: tuple[int, int], seed: int) -> tuple[np.ndarray, float]:
    """Positions ``(iterations / 2, C, P)`` of the second half of chains from ``start`` (C, P), and its rate of acceptance.

    ``density`` gives of (C, P) the unnormalised log density (C,) and its gradient (C, P).
    """
    random, z, step, positions, accepted = np.random.default_rng(seed), start.copy(), 1e-3, [], []
    log_p, gradient = density(z)
    for i in range(iterations):
        burning = i < iterations // 2
        v = random.standard_normal(z.shape)
        at, slope, energy = z, gradient, 0.5 * (v**2).sum(1) - log_p
        size = step * random.uniform(0.8, 1.2)
        for _ in range(random.integers(*leaps)):
            v = v + 0.5 * size * slope
            at = at + size * v
            after, slope = density(at)
            v = v + 0.5 * size * slope
        with np.errstate(over="ignore", invalid="ignore"):
            rate = np.exp(np.minimum(0.0, energy + after - 0.5 * (v**2).sum(1)))
        rate = np.nan_to_num(rate)
        taken = random.uniform(size=len(z)) < rate
        z, gradient = np.where(taken[:, None], at, z), np.where(taken[:, None], slope, gradient)
        log_p = np.where(taken, after, log_p)
        if burning:
            step *= np.exp((rate.mean() - ACCEPTED) / (1 + i) ** 0.6)
        else:
            positions.append(z)
            accepted.append(rate.mean())
    return np.stack(positions), float(np.mean(accepted))


def split_r_hat(draws: np.ndarray) -> np.ndarray:
    """Of ``(T, C, K)`` the potential scale reduction of K quantities, each chain in two halves."""
    half = len(draws) // 2
    parts = np.concatenate([draws[:half], draws[half : 2 * half]], axis=1)
    within = parts.var(axis=0, ddof=1).mean(0)
    return np.sqrt((half - 1) / half + parts.mean(0).var(axis=0, ddof=1) / within)


def main() -> None:
    from elboard.tasks.posterior.bnn import LEVELS, NetworkPosterior, function, inputs

    posterior = NetworkPosterior()
    start = np.random.default_rng(0).standard_normal((CHAINS, posterior.size))
    positions, rate = sample(posterior, start, ITERATIONS, LEAPS, seed=1)
    f = np.stack([function(theta, posterior.standard(inputs())) for theta in positions[::THIN]])
    every = f.reshape(-1, f.shape[-1])
    found = {"quantiles": np.quantile(every, LEVELS, axis=0), "mean": every.mean(0), "sd": every.std(0)}
    np.savez_compressed(FILE, **{k: v.astype(np.float32) for k, v in found.items()}, r_hat=split_r_hat(f).max(), accepted=rate)
    print(f"{FILE.name}: {len(every):,} draws, split R-hat at most {split_r_hat(f).max():.3f}, accepted {rate:.2f}")


if __name__ == "__main__":
    main()
