"""Metrics of artefacts against torchmetrics and against images that have one artefact and no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from elboard.bench.metrics import artefacts
from elboard.tasks.artefacts.shapes import FACTOR, ArtefactShapes, _sums, draw

RNG = np.random.default_rng(0)
X = draw(12, RNG).astype(np.float64)
BLANK = [torch.ones(12, 2, 4, 4)]


def measured(y: np.ndarray) -> dict[str, float]:
    return ArtefactShapes.measure(_sums(torch.from_numpy(X), torch.from_numpy(y), BLANK), None)


def noisy(scale: float = 0.05) -> np.ndarray:
    return X + scale * np.random.default_rng(1).normal(size=X.shape)


def test_ssim_and_psnr_are_those_of_torchmetrics() -> None:
    x, y = torch.from_numpy(X), torch.from_numpy(noisy())
    wanted = [structural_similarity_index_measure(y[i : i + 1], x[i : i + 1], data_range=1.0, sigma=1.5, kernel_size=11) for i in range(12)]
    assert artefacts.ssim(x, y).numpy() == pytest.approx(np.array([value.item() for value in wanted]), abs=1e-6)
    psnr = np.mean([peak_signal_noise_ratio(y[i], x[i], data_range=1.0).item() for i in range(12)])
    assert measured(noisy())["psnr"] == pytest.approx(psnr, rel=1e-6)


def test_a_perfect_reconstruction_has_no_artefact() -> None:
    found = measured(X)
    assert found["ssim"] == pytest.approx(1) and found["high_band"] == 1 and found["psnr"] == 100
    assert found["colour_shift"] == found["grid_energy"] == found["corner_error"] == 0 and found["spikes"] == 1


def test_corners_of_the_images_are_places_like_any_other() -> None:
    """As rough as the centre, and as often part of a shape: else an error in the corners would say nothing of padding."""
    x = draw(3000, np.random.default_rng(5)).astype(np.float64)
    steps = np.diff(x, axis=3, append=x[..., :1])
    for of in (steps, x - x.mean((2, 3), keepdims=True)):
        corners, centre = artefacts.corners_and_centre(of)
        assert corners.mean() == pytest.approx(centre.mean(), rel=0.06)


def test_each_artefact_moves_its_own_number() -> None:
    clean = measured(noisy())
    assert clean["grid_energy"] == pytest.approx(1, abs=0.25) and clean["corner_error"] == pytest.approx(1, abs=0.15)
    tint = measured(noisy() + np.array([0.1, 0.0, -0.2])[:, None, None])
    assert tint["colour_shift"] == pytest.approx(0.1, abs=0.005) and tint["grid_energy"] == pytest.approx(clean["grid_energy"])
    pattern = np.zeros((32, 32))
    pattern[::FACTOR, ::FACTOR] = 0.5
    grid = measured(noisy() + pattern)
    assert grid["grid_energy"] > 5 * clean["grid_energy"] and grid["corner_error"] < 2
    border = np.zeros((32, 32))
    for rows in (slice(4), slice(-4, None)):
        border[rows, :4] = border[rows, -4:] = 0.3
    corner = measured(noisy() + border)
    assert corner["corner_error"] > 5 and clean["colour_shift"] < 0.01
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(torch.from_numpy(X), [1] * 4, mode="reflect"), 3, 1).numpy()
    assert measured(smooth)["high_band"] < 0.4 < 0.99 < measured(X)["high_band"]


def test_powers_by_loops_over_frequencies() -> None:
    """Of a sum of waves with known amplitudes on the grid, next to it and elsewhere."""
    n, at = 32, np.arange(32)
    waves = {(4, 0): 3.0, (8, 12): 2.0, (5, 0): 1.0, (2, 2): 10.0, (0, 1): 7.0}
    x = sum(a * np.cos(2 * np.pi * (k * at[:, None] + m * at[None]) / n) for (k, m), a in waves.items())[None, None]
    on, beside = artefacts.grid_power(x, FACTOR)
    multiples = [(k, m) for k in range(0, n, 4) for m in range(0, n, 4) if (k, m) != (0, 0)]
    near = {((k + i) % n, (m + j) % n) for k, m in multiples for i in (-1, 0, 1) for j in (-1, 0, 1)}
    near -= {*multiples, (0, 0)}
    power = np.abs(np.fft.fft2(x[0, 0])) ** 2
    assert on[0] == pytest.approx(np.mean([power[at] for at in multiples]))
    assert beside[0] == pytest.approx(np.mean([power[at] for at in near]))
    each = (n * n / 2) ** 2 * 2
    assert on[0] * len(multiples) == pytest.approx((3.0**2 + 2.0**2) * each)
    assert artefacts.fine_detail(x)[0] == pytest.approx(2.0**2 * each), "of frequencies above a quarter of a cycle a pixel"


def test_spikes_are_the_largest_norm_over_the_median_of_the_worst_map() -> None:
    flat, spiked = torch.ones(2, 3, 5, 5), torch.ones(2, 3, 5, 5)
    spiked[1, :, 2, 3] = 7.0
    assert artefacts.spikes([flat, flat]).tolist() == [1, 1]
    assert artefacts.spikes([flat, spiked]).tolist() == pytest.approx([1, 7])
