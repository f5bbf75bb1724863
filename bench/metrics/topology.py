"""Whether codes of data on a torus form a torus. The data lie on a grid of ``side`` x ``side`` points, periodic in both directions."""

from __future__ import annotations

import numpy as np

STEP = 5.0  # times the median step is a tear
FAR = 2  # steps beyond which another grid point is no neighbourhood
ALLOWED = 0.01  # share of tears and of folds in a faithful code: a torus cut open to a square has 3 / (2 side) of its steps torn


def grid_distance(side: int) -> np.ndarray:
    """Steps between the points of the grid, row by row, diagonal ones counted once: ``(side^2, side^2)``."""
    at = np.arange(side)
    along = np.minimum((at[:, None] - at) % side, (at - at[:, None]) % side)
    rows, columns = along[:, None, :, None], along[None, :, None, :]
    return np.maximum(rows, columns).reshape(side**2, side**2)


def code_distance(z: np.ndarray) -> np.ndarray:
    """Euclidean distances ``(N, N)`` between the codes ``(N, n)``."""
    z = np.asarray(z, dtype=np.float64)
    squared = (z**2).sum(1)
    return np.sqrt(np.clip(squared[:, None] + squared - 2 * z @ z.T, 0.0, None))


def faithfulness(z: np.ndarray, side: int) -> dict[str, float]:
    """``neighbours``, ``torn``, ``folded`` and ``faithful`` of the codes ``(side^2, n)``.

    A code without tears is continuous and one without folds is injective, at the grid's resolution; a continuous injective image of a torus
    is a torus. Folds are measured by the shorter of the two directions, so that a torus of unequal circles has none.
    """
    steps, distance = grid_distance(side), code_distance(z)
    n, near = len(z), steps == 1
    apart = np.where(near, distance, np.nan)
    torn = float((apart[near] > STEP * np.median(apart[near])).mean())
    nearest_far = np.where(steps > FAR, distance, np.inf).min(axis=1)
    shorter = np.sort(distance[_straight(side)].reshape(n, -1), axis=1)[:, 1]  # a direction has two steps: one of them may be torn
    folded = float((nearest_far < shorter).mean())
    k = min(8, n - 1)
    order = np.argsort(distance + np.where(np.eye(n, dtype=bool), np.inf, 0.0), axis=1, kind="stable")[:, :k]
    kept = float(np.take_along_axis(near, order, axis=1).mean())
    return {"neighbours": kept, "torn": torn, "folded": folded, "faithful": float(torn <= ALLOWED and folded <= ALLOWED)}


def _straight(side: int) -> np.ndarray:
    """Which points are one step along a row or a column apart."""
    i = np.arange(side**2)
    row, column = i // side, i % side
    found = np.zeros((side**2, side**2), dtype=bool)
    for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        found[i, (row + dr) % side * side + (column + dc) % side] = True
    return found


def windings(angles: np.ndarray) -> np.ndarray:
    """How often each angle turns along closed loops ``(..., L, c)``, in whole turns ``(..., c)``: steps are taken the short way round."""
    steps = np.diff(np.concatenate([angles, angles[..., :1, :]], axis=-2), axis=-2)
    short = (steps + np.pi) % (2 * np.pi) - np.pi
    return np.rint(short.sum(axis=-2) / (2 * np.pi))


def degree(angles: np.ndarray, side: int) -> float:
    """|det| of the 2 x 2 winding numbers of two angles ``(side^2, 2)`` along the grid's rows and columns; 0 where there are not two angles,
    and where parallel loops have other winding numbers, which no continuous map gives."""
    if angles.shape[1] != 2:
        return 0.0
    grid = np.asarray(angles, dtype=np.float64).reshape(side, side, 2)
    loops = [windings(grid), windings(grid.swapaxes(0, 1))]
    if any((of != of[0]).any() for of in loops):
        return 0.0
    return float(abs(np.rint(np.linalg.det(np.stack([of[0] for of in loops])))))
