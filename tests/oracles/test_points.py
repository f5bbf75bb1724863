"""Patterns of the plane: densities that integrate to one and are those of the points drawn, and metrics by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.special import ive

from elboard.bench.errors import UserError
from elboard.bench.metrics.points import WIDTHS, mmd2, mode_coverage, tail_distance
from elboard.tasks.data.toy import NAMES, NODES, PATTERNS, Atlas


@pytest.mark.parametrize("name", NAMES)
def test_densities_integrate_to_one_and_nodes_are_dense(name: str) -> None:
    step = 0.02
    along = np.arange(-1.4, 1.4, step) + step / 2
    x = np.stack(np.meshgrid(along, along), axis=2).reshape(-1, 2)
    mass = sum(np.exp(PATTERNS[name].log_density(part)).sum() for part in np.array_split(x, 40)) * step**2
    assert mass == pytest.approx(1.0, abs=1e-6)
    if name != "checkerboard" and not PATTERNS[name].modes:
        steps = np.linalg.norm(np.diff(PATTERNS[name].nodes, axis=0), axis=1)
        assert np.sort(steps)[-4] < 0.6 * PATTERNS[name].blur and NODES % 6 == 0, "but for the jumps between parts"


@pytest.mark.parametrize("name", NAMES)
def test_points_are_drawn_from_the_density(name: str) -> None:
    """Of cells of a histogram the counts are those of the integral over them."""
    n, step, fine = 40_000, 0.2, 6
    x = PATTERNS[name].draw(n, np.random.default_rng(0))
    edges = np.arange(-1.4, 1.41, step)
    count, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=[edges, edges])
    along = (np.arange((len(edges) - 1) * fine) + 0.5) * step / fine - 1.4
    at = np.stack(np.meshgrid(along, along, indexing="ij"), axis=2).reshape(-1, 2)
    density = np.concatenate([np.exp(PATTERNS[name].log_density(part)) for part in np.array_split(at, 40)])
    cells = density.reshape(len(edges) - 1, fine, len(edges) - 1, fine).sum((1, 3)) * (step / fine) ** 2 * n
    assert (np.abs(count - cells) < 5 * np.sqrt(cells + 1) + 0.03 * cells + 3).all()


def test_the_density_of_rings_is_its_closed_form() -> None:
    """(1 / 2 pi s^2) exp(-(rho^2 + r^2) / 2 s^2) I_0(rho r / s^2) of a circle of radius r."""
    rho, s = np.linspace(0.05, 1.2, 50), 0.03
    rings = [np.exp(-((rho - r) ** 2) / (2 * s**2)) * ive(0, rho * r / s**2) / (2 * np.pi * s**2) for r in (1 / 3, 2 / 3, 1)]
    x = np.stack([rho * np.cos(0.7), rho * np.sin(0.7)], axis=1)
    np.testing.assert_allclose(np.exp(PATTERNS["rings"].log_density(x)), np.mean(rings, axis=0), rtol=1e-9, atol=1e-30)


def test_an_atlas_has_equal_shares_in_tiles_that_do_not_meet() -> None:
    atlas = Atlas()
    x, which = atlas.draw(20_000, np.random.default_rng(0))
    assert (atlas.tile(x) == which).all() and np.bincount(which).min() > 2600
    assert (atlas.tile(np.array([[100.0, 0.0]])) == -1).all()
    for i, name in enumerate(NAMES):
        at = x[which == i][:20]
        alone = PATTERNS[name].log_density(at - atlas.centres[i]) - np.log(7)
        np.testing.assert_allclose(atlas.log_density(at), alone, atol=1e-9)
    assert (Atlas(["moons"]).centres == 0).all()
    for wrong in (["moon"], [], ["moons", "moons"]):
        with pytest.raises(UserError):
            Atlas(wrong)


def test_mmd_by_brute_force_and_unbiased() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 2)), rng.normal(size=(5, 2))

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean([np.exp(-((x - y) ** 2).sum() / (2 * w**2)) for w in WIDTHS]))

    inner = [np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    assert mmd2(a, b) == pytest.approx(sum(inner) - 2 * np.mean([k(x, y) for x in a for y in b]), abs=1e-12)
    many = [mmd2(rng.normal(size=(30, 2)), rng.normal(size=(30, 2))) for _ in range(500)]
    assert abs(np.mean(many)) < 4 * np.std(many) / np.sqrt(500)


def test_modes_are_covered_by_true_samples_and_lost_where_samples_are() -> None:
    atlas = Atlas()
    x, which = atlas.draw(2000, np.random.default_rng(1))
    (means, deviation), share = atlas.modes()["25-gaussians"], 1 / 7
    assert mode_coverage(x, means, deviation, share) == 1.0
    number = NAMES.index("25-gaussians")
    kept = np.linalg.norm(x - means[0], axis=1) > 0.2
    assert mode_coverage(x[kept], means, deviation, share) == pytest.approx(24 / 25)
    assert mode_coverage(x[which != number], means, deviation, share) == 0.0


def test_tail_distance_by_a_tree() -> None:
    rng = np.random.default_rng(0)
    samples, points = rng.standard_normal((1030, 3)), rng.standard_normal((400, 3))
    nearest = np.sort(cKDTree(points).query(samples)[0])
    assert tail_distance(samples, points) == pytest.approx(nearest[-52:].mean(), rel=1e-9)
    assert tail_distance(points, points) == 0
