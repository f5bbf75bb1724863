"""Topology of codes: a true torus, a torus cut open, a folded one, and noise."""

from __future__ import annotations

import numpy as np
import pytest

from elboard.bench.metrics.topology import degree, faithfulness, windings

SIDE = 24
ROW, COLUMN = (part.ravel() * 2 * np.pi / SIDE for part in np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"))


def torus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b)], axis=1)


def test_a_torus_is_faithful_however_it_is_turned() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    for a, b in ((ROW, COLUMN), (COLUMN, -ROW), (ROW + 1, COLUMN + 2)):
        found = faithfulness(torus(a, b) @ rotation, SIDE)
        assert found == {"neighbours": 1.0, "torn": 0.0, "folded": 0.0, "faithful": 1.0}


@pytest.mark.parametrize("tube", [0.6, 1.5])
def test_a_torus_of_unequal_circles_is_faithful(tube: float) -> None:
    """In space, of the radii 3 and .6 of the paper's: three steps around the tube are shorter than one along the core."""
    radius = 3 + tube * np.cos(COLUMN)
    found = faithfulness(np.stack([radius * np.cos(ROW), radius * np.sin(ROW), tube * np.sin(COLUMN)], axis=1), SIDE)
    assert found["torn"] == found["folded"] == 0.0 and found["faithful"] == 1.0
    shadow = faithfulness(np.stack([radius * np.cos(ROW), radius * np.sin(ROW)], axis=1), SIDE)
    assert shadow["folded"] > 0.5 and shadow["faithful"] == 0.0


def test_a_square_is_torn_along_its_edges() -> None:
    found = faithfulness(np.stack([ROW, COLUMN], axis=1), SIDE)
    across = 2 * (2 * 3 * SIDE) - 4  # ordered pairs over either edge, those of the corners over both
    assert found["torn"] == pytest.approx(across / (8 * SIDE**2))
    assert found["folded"] == 0.0, "nor at its edges and corners, where steps of each direction remain"
    assert found["faithful"] == 0.0
    assert found["neighbours"] == pytest.approx(1 - 2 / SIDE, abs=0.06)


def test_a_projection_to_the_plane_is_folded() -> None:
    found = faithfulness(torus(ROW, COLUMN)[:, [0, 2]], SIDE)
    assert found["folded"] > 0.7 and found["torn"] < 0.05 and found["faithful"] == 0.0


def test_a_double_cover_is_folded_and_has_degree_two() -> None:
    assert faithfulness(torus(2 * ROW, COLUMN), SIDE)["folded"] == 1.0
    assert degree(np.stack([2 * ROW, COLUMN], axis=1), SIDE) == 2.0


def test_noise_keeps_as_many_neighbours_as_chance() -> None:
    rng = np.random.default_rng(0)
    found = faithfulness(rng.normal(size=(SIDE**2, 4)), SIDE)
    assert found["neighbours"] == pytest.approx(8 / (SIDE**2 - 1), abs=0.01) and found["faithful"] == 0.0
    assert degree(rng.uniform(-np.pi, np.pi, (SIDE**2, 2)), SIDE) == 0.0


@pytest.mark.parametrize("matrix", [((1, 0), (0, 1)), ((1, 1), (0, 1)), ((0, -1), (1, 0)), ((2, 0), (0, 1)), ((1, 1), (1, 1))])
def test_the_degree_is_the_determinant_of_the_winding_numbers(matrix: tuple) -> None:
    (a, b), (c, d) = matrix
    angles = np.stack([a * ROW + b * COLUMN, c * ROW + d * COLUMN], axis=1) + 0.3 * np.sin(ROW + COLUMN)[:, None]
    wrapped = (angles + np.pi) % (2 * np.pi) - np.pi
    assert degree(wrapped, SIDE) == abs(a * d - b * c)
    loops = windings(wrapped.reshape(SIDE, SIDE, 2).swapaxes(0, 1))  # along rows: the first index changes
    assert (loops == [a, c]).all()


def test_one_angle_has_no_degree() -> None:
    assert degree(ROW[:, None], SIDE) == 0.0 and degree(np.zeros((SIDE**2, 0)), SIDE) == 0.0
