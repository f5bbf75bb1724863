"""The disentanglement tasks: images from factors, splits, and their metrics of codes that are perfect, rotated or noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from scipy.linalg import hadamard
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.bench.task import Task
from elboard.tasks.data import fetch, loaders
from elboard.tasks.disentanglement.base import of_units
from elboard.tasks.disentanglement.shapes import factors_of, render

SIZES = (3, 3, 8, 7, 5)


def make(name: str = "disentanglement/sprites", seed: int = 0, **options: Any) -> Task:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", seed)


def drawn(*factors: int, width: int = 64) -> np.ndarray:
    return render(np.array([factors]), SIZES, width)[0].astype(float)


def centre(image: np.ndarray) -> np.ndarray:
    """Row and column of the centre of mass."""
    return np.array(np.nonzero(image)).mean(axis=1)


def test_each_factor_does_what_its_name_says() -> None:
    for shape in range(3):
        areas = [drawn(shape, scale, 0, 3, 2, width=256).sum() for scale in range(3)]
        assert areas[0] < areas[1] < areas[2] and areas[2] == pytest.approx(4 * areas[0], rel=0.1), "half as wide"
        columns = [centre(drawn(shape, 1, 0, x, 2))[1] for x in range(7)]
        rows = [centre(drawn(shape, 1, 0, 3, y))[0] for y in range(5)]
        assert np.ptp(np.diff(columns)) < 0.6 and np.diff(columns).min() > 3, "x goes to the right in equal steps"
        assert np.ptp(np.diff(rows)) < 0.6 and np.diff(rows).max() < -3, "y goes upwards"
    square, ellipse, heart = (drawn(shape, 2, 0, 3, 2) for shape in range(3))
    assert np.array_equal(square, np.rot90(square)) and not np.array_equal(ellipse, np.rot90(ellipse))
    assert np.array_equal(heart, heart[:, ::-1]) and not np.array_equal(heart, heart[::-1]), "a heart stands upright"


def test_orientation_turns_anticlockwise_over_the_whole_circle() -> None:
    heart = [drawn(2, 2, turn, 3, 2) for turn in range(8)]
    assert np.abs(np.rot90(heart[0]) - heart[2]).sum() < 0.05 * heart[0].sum()
    assert len({image.tobytes() for image in heart}) == 8
    ellipse = [drawn(1, 2, turn, 3, 2) for turn in range(8)]
    assert np.abs(ellipse[1] - ellipse[5]).sum() < 0.05 * ellipse[0].sum() < np.abs(ellipse[1] - ellipse[3]).sum()


def test_numbers_of_the_grid_are_combinations_with_the_last_factor_fastest() -> None:
    factors = factors_of(np.arange(np.prod(SIZES)), SIZES)
    assert factors[:6].tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 2], [0, 0, 0, 0, 3], [0, 0, 0, 0, 4], [0, 0, 0, 1, 0]]
    assert len(np.unique(factors, axis=0)) == np.prod(SIZES)


@pytest.mark.parametrize("name", ["disentanglement/sprites", "disentanglement/cars3d"])
def test_splits_belong_to_the_task_and_do_not_overlap(name: str) -> None:
    (data, test), (again, _) = loaded(make(name)), loaded(make(name, seed=7))
    c = make(name).config
    assert (len(data.train["x"]), len(data.valid["x"]), len(test["x"])) == (c.n_train, c.n_valid, c.n_test)
    assert torch.equal(data.train["x"], again.train["x"]) and set(data.train) == {"x"}
    assert data.train["x"].min() == 0 and data.train["x"].max() <= 1 and data.spec.network == "conv-4-8"
    whole = make(name, labels=1.0, n_valid=c.n_valid)
    seen = {tuple(row) for row in whole.load_train().train["factors"].tolist()}
    if name.endswith("sprites"):
        assert len(seen) == c.n_train and not seen & {tuple(row) for row in test["factors"].tolist()}


def test_sizes_that_do_not_fit_are_said() -> None:
    with pytest.raises(UserError, match="number 2000, and there are 1296"):
        make(n_train=2000).load_train()
    if fetch.available("cars3d"):
        cls = find("task", "disentanglement/cars3d").load()
        with pytest.raises(UserError, match="width=48 does not divide 64"):
            cls(cls.Config(width=48), "lite", 0).load_train()


def test_factors_are_handed_out_only_where_the_run_says_so() -> None:
    train = make(labels=0.1).load_train().train
    n = round(0.1 * len(train["x"]))
    assert n > 10 and (train["factors"][:n] >= 0).all() and (train["factors"][n:] == -1).all(), "a share, at any budget"
    with pytest.raises(UserError, match=r"labels=200.0 is not in \[0, 1\]"):
        make(labels=200.0).load_train()
    assert torch.equal(train["x"], make().load_train().train["x"])


class Oracle:
    """Codes by looking up the factors of an image; units beyond them are passive. ``kind``: perfect, rotated or noise."""

    def __init__(self, data: Any, test: Any, kind: str):
        self.kind = kind
        x, factors = torch.cat([data.valid["x"], test["x"]]), torch.cat([data.valid["factors"], test["factors"]]).double()
        self.known = {image.numpy().tobytes(): row for image, row in zip(x, (factors - factors.mean(0)) / factors.std(0), strict=True)}

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes = torch.stack([self.known[image.numpy().tobytes()] for image in x])[:, [0, 1, 3, 4]]
        rng = torch.Generator().manual_seed(int(x.sum()))
        if self.kind == "noise":
            codes = torch.randn(codes.shape, generator=rng, dtype=torch.float64)
        if self.kind == "rotated":
            codes = codes @ torch.from_numpy(hadamard(4)).double() / 2
        passive = 1e-3 * codes[:, :1] + 1e-6 * torch.randn(len(x), 1, generator=rng, dtype=torch.float64)
        logvar = torch.tensor([1e-4] * 4 + [1.0]).log().expand(len(x), 5)
        return torch.cat([codes, passive], 1).float(), logvar

    def represent(self, x: Tensor) -> Tensor:
        return self.encode(x)[0]

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(("elbo", "kl", "reconstruction"), torch.zeros(len(x)))


@pytest.fixture(scope="module")
def of() -> dict[str, dict[str, float]]:
    """Metrics by the kind of code, of images without orientation, so that none looks like another."""
    task = make(sizes=[3, 6, 1, 10, 10], n_train=200, n_valid=100, n_test=1500, width=64)
    data, test = loaded(task)
    found = {}
    for kind in ("perfect", "rotated", "noise"):
        method = Oracle(data, test, kind)
        torch.manual_seed(0)
        found[kind] = scored(type(task), task.observe(method, data, test, [])).metrics
        assert task.validate(method, data)["mig"] == pytest.approx(found[kind]["mig"], abs=0.12), "the same on validation images"
    return found


def test_the_board_orders_a_perfect_code_a_rotated_one_and_noise(of: dict[str, dict[str, float]]) -> None:
    """Four codes of five factors, of which one has a single value: a gap of each score but that is whole."""
    perfect, rotated, noise = of["perfect"], of["rotated"], of["noise"]
    for key in ("mig", "sap", "dci_disentanglement", "dci_informativeness", "factorvae_score/sampled", "mig/sampled"):
        assert perfect[key] > noise[key] + 0.3, key
    assert perfect["mig/sampled"] > 0.7 and rotated["mig/sampled"] < 0.25 and noise["mig/sampled"] < 0.05
    assert perfect["dci_disentanglement"] > 0.95 > 0.5 > rotated["dci_disentanglement"]


def test_a_passive_unit_tells_of_another_in_means_and_not_in_samples(of: dict[str, dict[str, float]]) -> None:
    """The mean of the passive unit is a copy of the first code, in a thousandth of its size; without it means and samples agree."""
    found = of["perfect"]
    assert (found["units/active"], found["units/mixed"], found["units/passive"]) == (4, 0, 1)
    assert found["passive_correlation"] > 0.99 and found["passive_correlation/sampled"] < 0.1
    assert found["passive_correlation"] == found["passive_correlation/active+mixed"], "there is one passive unit alone"
    assert found["passive_correlation/sampled"] == found["passive_correlation/active+mixed-sampled"]
    assert found["tc_gap"] > 3 and found["tc_gap_left/active"] < 0.01 and found["pair_mi_gap"] > 5 * abs(found["pair_mi_gap/active"])
    assert found["tc_gap"] == found["tc"] - found["tc/sampled"] and found["tc/active"] < 0.05
    assert abs(found["logistic_drop/active"]) < 0.02 and found["logistic_accuracy/active"] > 0.5
    assert found["mig"] < found["mig/sampled"], "the copy closes the gap of its factor"


def test_sets_without_units_have_no_metrics() -> None:
    observed = {f"{name}_covariance": np.eye(2) for name in ("mean", "sampled")}
    units = {"active": np.array([True, True]), "mixed": np.zeros(2, bool), "passive": np.zeros(2, bool)}
    found = of_units(observed, units)
    assert {"tc", "tc/active", "tc/active-sampled", "tc_gap/active"} <= set(found)
    assert not any("passive" in key or "left" in key or "drop" in key for key in found)
    none = {"active": np.zeros(2, bool), "mixed": np.zeros(2, bool), "passive": np.ones(2, bool)}
    found = of_units(observed, none)
    assert "tc/active" not in found and "passive_correlation/active+mixed" not in found
    assert found["passive_correlation"] == 0.0, "of two passive units the other one is another"
    alone = {of: mask[:1] for of, mask in none.items()}
    assert not any("correlation" in key for key in of_units({"mean_covariance": np.eye(1), "sampled_covariance": np.eye(1)}, alone))


def test_cars_and_their_factors() -> None:
    """Of the real images: sizes of the splits, no image twice, a car of one direction in the means of 2 x 2 of its pixels."""
    if not fetch.available("cars3d"):
        pytest.skip("cars3d is neither cached nor in ELBOARD_DATA")
    entry = find("task", "disentanglement/cars3d")
    cls = entry.load()
    task = cls(cls.Config(**entry.budgets()["lite"]["task"]), "lite", 0)
    parts = [task.images(start, n) for start, n in ((0, 3856), (3856, 500), (4356, 1500))]
    factors = np.concatenate([of for _, of in parts])
    assert len(np.unique(factors, axis=0)) == len(factors) == 5856 and factors.max(axis=0).tolist() == [3, 23, 60]
    elevation, azimuth, car = parts[2][1][7]
    expected = loaders.cars3d()[car, elevation, azimuth].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(parts[2][0][7], expected, atol=1e-6)
