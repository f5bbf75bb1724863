"""Streets and tiles: what is drawn, what training images say, and that masks are where the anomaly is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.evidence import LIMIT, scored
from elboard.bench.kinds.anomaly import AnomalyMap
from elboard.bench.registry import find
from elboard.bench.task import Task
from elboard.tasks.anomaly import streets, tiles

NAMES = ("anomaly/streets", "anomaly/tiles")


def make(name: str, seed: int = 0, budget: str = "smoke", **options: Any) -> Task:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget]["task"], **options}), budget, seed)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_the_same_for_all_seeds_and_differ_between_splits(name: str) -> None:
    data, test = loaded(make(name))
    again, test_again = loaded(make(name, seed=7))
    assert torch.equal(data.train["x"], again.train["x"]) and torch.equal(test["anomalous"], test_again["anomalous"])
    parts = [data.train["x"], data.valid["x"], test["normal"], test["anomalous"]]
    rows = np.unique(torch.cat(parts).flatten(1).numpy(), axis=0)
    assert len(rows) == sum(map(len, parts)) and rows.min() >= 0 and rows.max() <= 1
    assert data.valid["y"].float().mean() == 0.5 and set(data.train) == set(data.valid) == {"x", "y"}, "no mask is handed to methods"


def test_one_street_in_five_has_an_anomaly_and_no_tile_does() -> None:
    assert make("anomaly/streets").load_train().train["y"].float().mean() == pytest.approx(0.2)
    assert make("anomaly/tiles").load_train().train["y"].sum() == 0


@pytest.mark.parametrize("kinds", [(k,) for k in range(5)])
def test_an_anomaly_of_a_street_has_its_size_and_lies_within_the_picture(kinds: tuple[int, ...]) -> None:
    drawn = streets.draw(60, np.random.default_rng(1), kinds)
    for mask, size in zip(drawn.mask, drawn.groups["size"], strict=True):
        rows, columns = np.nonzero(mask)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == streets.SIZES[size]
    assert (drawn.groups["kind"] == (kinds[0] >= streets.KNOWN)).all()
    assert not streets.draw(5, np.random.default_rng(1)).mask.any()


def test_kinds_that_are_held_out_are_in_half_of_the_test_and_nowhere_else() -> None:
    task = make("anomaly/streets")
    seen: dict[str, set[tuple[int, ...]]] = {}
    plain = streets.draw

    def spied(n: int, rng: np.random.Generator, kinds: tuple[int, ...] = ()) -> streets.Drawn:
        seen.setdefault(split, set()).add(kinds)
        return plain(n, rng, kinds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streets, "draw", spied)
        for split in ("train", "valid", "test"):
            task._drawn(split, 20, 10)
    assert seen["train"] == seen["valid"] == {(), (0, 1, 2)} and seen["test"] == {(), (0, 1, 2), (3, 4)}
    _, test = loaded(task)
    assert test["kind"].mean() == 0.5


def test_a_defect_is_what_differs_from_the_tile_without_it() -> None:
    """The same stream draws the same tile up to the defect; noise comes after it."""
    with_defect, plain = (tiles.draw(30, np.random.default_rng(3), 0.25, has) for has in (True, False))
    assert not plain.mask.any() and with_defect.mask.any((1, 2)).all()
    difference = np.abs(with_defect.x - plain.x).mean(1)
    outside = np.where(with_defect.mask, 0, difference)
    assert outside.max() < 0.08, "noise"
    inside = (difference * with_defect.mask).sum((1, 2)) / with_defect.mask.sum((1, 2))
    assert (inside > 2 * difference[~with_defect.mask].mean()).all()
    area = with_defect.mask.mean((1, 2))
    assert area.min() > 0.004 and area.max() < 0.06


def test_contrast_is_that_of_the_chips() -> None:
    def roughness(contrast: float) -> float:
        x = tiles.draw(20, np.random.default_rng(0), contrast, False).x[:, :, 18:30, 18:30]
        return float(x.mean(1).std((1, 2)).mean())

    assert roughness(0.0) < 0.03 < roughness(0.15) < roughness(0.3)


def test_most_of_what_varies_is_where_the_tile_lies() -> None:
    """Which codes can hold, unlike the chips: else a short run of a detector gives the mean image back."""

    def variance(contrast: float) -> float:
        x = tiles.draw(60, np.random.default_rng(4), contrast, False).x
        return float((x - x.mean(0)).var())

    assert variance(0.0) > 0.6 * variance(tiles.Tiles.Config.__dataclass_fields__["contrast"].default)


class Knowing(AnomalyMap):
    """Knows the test images' masks; ``anywhere`` it points beside them."""

    def __init__(self, test: dict[str, Any], anywhere: bool = False):
        self.known = {x.numpy().tobytes(): mask for x, mask in zip(test["anomalous"], test["mask"], strict=True)}
        self.anywhere = anywhere

    def anomaly_score(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([float(one.numpy().tobytes() in self.known) for one in x])

    def anomaly_map(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.stack([torch.from_numpy(self.known[one.numpy().tobytes()]).float() for one in x])
        return 1 - maps if self.anywhere else maps


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_for_the_right_and_for_the_wrong_reason(name: str) -> None:
    task = make(name)
    data, test = loaded(task)
    right, wrong = (scored(type(task), task.observe(Knowing(test, anywhere), data, test, [])).metrics for anywhere in (False, True))
    assert right["auroc"] == wrong["auroc"] == 1
    assert right["max_iou"] == right["pixel_auroc"] == 1 and right["wrong_reason"] == 0
    assert wrong["max_iou"] == wrong["pixel_auroc"] == 0 and wrong["wrong_reason"] == 1


def test_evidence_of_the_light_budget_is_kept_whole() -> None:
    """All that a method may leave, in the sizes of lite."""
    n = streets.Streets.Config().n_test // 2
    arrays = {name: np.zeros(n, np.float32) for name in ("normal", "anomalous")}
    arrays |= {name: np.zeros(n, np.uint8) for name in ("group_size", "group_kind")}
    arrays |= {name: np.zeros(n, np.float16) for name in ("overlap", "ceiling", "pixels", "quality")}
    arrays |= {"silhouette": np.zeros(2 * n, np.float16)} | {f"valid_{of}": np.zeros(200, np.float32) for of in ("normal", "anomalous")}
    assert sum(array.nbytes for array in arrays.values()) <= LIMIT
