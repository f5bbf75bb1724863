"""Metrics of anomalies against scikit-learn, torchmetrics and their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_jaccard_index
from torchmetrics.functional.image import peak_signal_noise_ratio

from elboard.bench.metrics import anomaly
from elboard.tasks.anomaly.streets import Streets
from elboard.tasks.anomaly.tiles import Tiles

RNG = np.random.default_rng(0)
MASKS = RNG.random((6, 8, 8)) < 0.2
MAPS = RNG.normal(size=(6, 8, 8)) + MASKS


def test_pixel_auroc_is_scikit_learns() -> None:
    wanted = [sk.roc_auc_score(mask.ravel(), of.ravel()) for mask, of in zip(MASKS, MAPS, strict=True)]
    assert anomaly.pixel_auroc(MAPS, MASKS) == pytest.approx(np.array(wanted), abs=1e-12)
    coarse = MAPS.round()
    wanted = [sk.roc_auc_score(mask.ravel(), of.ravel()) for mask, of in zip(MASKS, coarse, strict=True)]
    assert anomaly.pixel_auroc(coarse, MASKS) == pytest.approx(np.array(wanted), abs=1e-12), "ties count half"


def test_overlap_is_the_largest_jaccard_index_over_the_same_thresholds_for_all() -> None:
    for found, of, mask in zip(anomaly.max_iou(MAPS, MASKS), MAPS, MASKS, strict=True):
        target = torch.from_numpy(mask.ravel())
        wanted = [binary_jaccard_index(torch.from_numpy((of > k / 50 * of.max()).ravel()), target).item() for k in range(50)]
        assert found == pytest.approx(max(wanted), abs=1e-6)
    assert anomaly.max_iou(7 * MAPS, MASKS) == pytest.approx(anomaly.max_iou(MAPS, MASKS)), "units of a map are of no account"
    assert (anomaly.max_iou(MASKS * 1.0, MASKS) == 1).all() and (anomaly.max_iou(-1.0 * MASKS, MASKS) == 0).all()
    everywhere = anomaly.max_iou(np.ones((6, 8, 8)), MASKS)
    assert everywhere == pytest.approx(MASKS.mean((1, 2))), "the best of thresholds is above 0 by chance"


def test_ceiling_is_the_best_of_all_unions_of_regions() -> None:
    region = RNG.integers(7, size=(6, 8, 8))
    for found, of, mask in zip(anomaly.ceiling_iou(region, MASKS), region, MASKS, strict=True):
        unions = (np.isin(of, chosen) for n in range(1, 8) for chosen in itertools.combinations(range(7), n))
        assert found == pytest.approx(max((union & mask).sum() / (union | mask).sum() for union in unions), abs=1e-12)
    assert (anomaly.max_iou(region * 1.0, MASKS) <= anomaly.ceiling_iou(region, MASKS) + 1e-12).all()


@pytest.mark.parametrize("shift", [0.0, 1.0, 5.0])
def test_the_threshold_has_the_largest_g_mean_of_scikit_learns_curve(shift: float) -> None:
    normal, anomalous = RNG.normal(size=40).round(1), RNG.normal(size=30).round(1) + shift
    false, true, _ = sk.roc_curve(np.r_[np.zeros(40), np.ones(30)], np.r_[normal, anomalous], drop_intermediate=False)
    threshold = anomaly.best_threshold(normal, anomalous)
    rates = anomaly.flagged(normal, anomalous, threshold)
    mean = np.sqrt(rates["detection_rate"] * (1 - rates["false_alarms"]))
    assert mean == pytest.approx(np.sqrt(true * (1 - false)).max(), abs=1e-12)
    label, flag = np.r_[np.zeros(40), np.ones(30)], np.r_[normal, anomalous] >= threshold
    assert rates["alarm_precision"] == pytest.approx(sk.precision_score(label, flag))
    assert rates["detection_rate"] == pytest.approx(sk.recall_score(label, flag))


def test_silhouettes_are_scikit_learns() -> None:
    a, b = RNG.normal(size=(20, 3)), RNG.normal(size=(11, 3)) + 1
    wanted = sk.silhouette_samples(np.concatenate([a, b]), np.r_[np.zeros(20), np.ones(11)])
    assert anomaly.silhouettes(a, b) == pytest.approx(wanted, abs=1e-9)
    assert anomaly.silhouettes(a[:1], b)[0] == 0 and (anomaly.silhouettes(a[:2] * 0, b[:2] * 0) == 0).all()


def observed(**more: np.ndarray) -> dict[str, np.ndarray]:
    """Of streets: small ones are missed, large ones found."""
    size = np.array([0, 0, 1, 1, 2, 2], np.uint8)
    return {
        **{"normal": np.arange(4.0), "anomalous": np.array([0.5, 0.5, 1.5, 2.5, 9.0, 9.0]), "group_size": size},
        **{"group_kind": np.array([0, 1, 0, 1, 0, 1], np.uint8), "valid_normal": np.arange(4.0), "valid_anomalous": np.array([2.5, 9.0])},
        **more,
    }


def test_slices_are_of_their_own_anomalies_against_all_normal_images() -> None:
    found = Streets.measure(observed(), None)
    assert (found["auroc/small"], found["auroc/large"], found["size_gap"]) == (0.25, 1.0, 0.75)
    assert found["auroc/medium"] == sk.roc_auc_score([0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 1.5, 2.5])
    assert found["auroc/known"] == pytest.approx(sk.roc_auc_score([0, 0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 0.5, 1.5, 9]))


def test_only_maps_of_flagged_anomalies_count_for_the_wrong_reason() -> None:
    overlap = np.array([0.0, 0.0, 0.0, 0.05, 0.5, 0.1])
    found = Streets.measure(observed(overlap=overlap, ceiling=overlap + 0.4, pixels=np.full(6, 0.5)), None)
    assert found["detection_rate"] == 0.5 and found["wrong_reason"] == pytest.approx(1 / 3), "0.1 is not below 0.1"
    assert found["max_iou"] == pytest.approx(0.65 / 3) and found["ceiling_iou"] == pytest.approx(0.65 / 3 + 0.4)
    assert found["wrong_reason/medium"] == 1 and "wrong_reason/small" not in found, "of none that are flagged nothing is said"
    assert found["pixel_auroc"] == 0.5


def test_the_threshold_knows_no_test_image() -> None:
    one = Streets.measure(observed(), None)
    other = Streets.measure(observed(normal=np.arange(4.0) + 100), None)
    assert one["detection_rate"] == other["detection_rate"] and other["false_alarms"] == 1


def test_psnr_is_torchmetrics_mean_over_normal_images() -> None:
    class Grey:
        def anomaly_score(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))

    from elboard.bench.kinds.representation import Reconstructor

    class Blank(Grey, Reconstructor):
        def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, 0.4)

    task = Tiles(Tiles.Config(n_train=4, n_valid=8, n_test=12), "smoke", 0)
    data = task.load_train()
    test = task.load_test(data)
    arrays = task.observe(Blank(), data, test, []).arrays
    wanted = [peak_signal_noise_ratio(torch.full_like(x, 0.4), x, data_range=1.0).item() for x in test["normal"]]
    assert Tiles.measure(arrays, None)["psnr"] == pytest.approx(np.mean(wanted), abs=0.01)
    assert "psnr" not in Tiles.measure(task.observe(Grey(), data, test, []).arrays, None)
