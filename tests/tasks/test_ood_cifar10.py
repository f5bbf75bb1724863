"""Detection on colour images: splits, whole levels, jigsaws, far sets; OpenOOD's sets at full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.config import resolve
from elboard.bench.kinds.ood import OODScorer
from elboard.bench.registry import compatible, find
from elboard.bench.task import Task
from elboard.tasks.data import fetch, loaders
from elboard.tasks.ood.base import jigsaw
from elboard.tasks.parts.open_set import coloured, coloured_digits, separate
from elboard.tasks.parts.textures import textures

FAR = {"ood/cifar10": ["mnist", "fashion-mnist", "textures", "noise"], "ood/cifar10-openood": ["mnist", "svhn", "noise"]}
NEAR = {"ood/cifar10": "held-out", "ood/cifar10-openood": "cifar100"}


def make(name: str, budget: str = "smoke", seed: int = 0, **options: Any) -> Task:
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget]["task"], **options}), budget, seed)


def rows(x: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in x]


class Brightness(OODScorer):
    def ood_score(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))


@pytest.mark.parametrize("name", FAR)
def test_splits_and_levels(name: str) -> None:
    (data, test), (_, other) = loaded(make(name)), loaded(make(name, seed=7))
    assert data.spec.shape == (3, 32, 32) and data.spec.n_classes == 6 and data.spec.n_train == len(data.train["y"]) == 256
    assert [*test["near"]] == [NEAR[name]] and [*test["far"]] == FAR[name]
    everything = {"id": test["id"]["x"], **test["near"], **test["far"]}
    for x in (data.train["x"], data.valid["x"], *everything.values()):
        assert x.shape[1:] == data.spec.shape and x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1 and len(x) >= 100
        assert torch.equal((x * 255).round() / 255, x), "whole levels"
    parts = [set(rows(x)) for x in (data.train["x"], data.valid["x"], everything["id"], everything[NEAR[name]])]
    assert len(set.union(*parts)) == sum(map(len, parts)), "nothing is in two parts"
    assert all(torch.equal(x, {"id": other["id"]["x"], **other["near"], **other["far"]}[of]) for of, x in everything.items())


def test_no_class_held_out_is_learned() -> None:
    (x, y), out = separate(*coloured_digits("train"), (4, 5, 8, 9))
    label = {np.ascontiguousarray(image).tobytes(): int(of) for image, of in zip(x, y, strict=True)}
    data, _ = loaded(make("ood/cifar10"))
    for part in (data.train, data.valid):
        back = (part["x"] * 255).round().byte().permute(0, 2, 3, 1).contiguous()
        assert [label[image] for image in rows(back)] == part["y"].tolist()
    assert len(out) + len(x) == 1400 and set(y) == set(range(6))


def test_a_jigsaw_moves_all_channels_alike() -> None:
    x = np.arange(5 * 16 * 24 * 3).reshape(5, 16, 24, 3)
    mixed = jigsaw(x, 8, 0)
    assert all(np.array_equal(mixed[..., c], jigsaw(x[..., c], 8, 0)) for c in range(3)) and not np.array_equal(mixed, x)
    task = make("ood/cifar10")
    valid = task.load_train().valid["x"]
    found = task.jigsaws(valid)
    squares = [set(rows(of.unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).reshape(16, -1))) for of in (valid[0], found[0])]
    assert squares[0] == squares[1] and found.is_contiguous() and not torch.equal(found, valid)


@pytest.mark.parametrize("name", FAR)
def test_means_are_of_the_sets(name: str) -> None:
    task = make(name)
    data, test = loaded(task)
    metrics = task.score(task.observe(Brightness(), data, test, []).arrays)
    aurocs = [metrics[f"auroc/{of}"] for of in FAR[name]]
    assert metrics["auroc/far"] == pytest.approx(np.mean(aurocs)) and metrics["auroc/near"] == metrics[f"auroc/{NEAR[name]}"]
    assert metrics["auroc/mean"] == pytest.approx(np.mean([*aurocs, metrics["auroc/near"]])) and "auroc/validation" in metrics


def test_grey_images_in_colour() -> None:
    x = np.random.default_rng(0).integers(1, 256, (3, 28, 28), dtype=np.uint8)
    found = coloured(x)
    assert (
        found.shape == (3, 32, 32, 3)
        and (found[:, 2:30, 2:30] == x[..., None]).all()
        and found.astype(int).sum() == 3 * x.astype(int).sum()
    )


def test_textures() -> None:
    x = textures(60, 32, 0)
    assert x.shape == (60, 32, 32, 3) and x.dtype == np.uint8 and np.array_equal(x, textures(60, 32, 0))
    assert len({image.tobytes() for image in x}) == 60 and not np.array_equal(x, textures(60, 32, 1))
    level = x / 255.0
    deviation = level.std((1, 2)).max(1)
    step = np.abs(np.diff(level, axis=2)).mean((1, 2)).max(1)
    assert np.median(deviation) > 0.15, "two colours are told apart"
    assert np.median(step / deviation) < 0.8, "neighbours are alike, unlike noise, where this is 2 / sqrt(pi)"


def test_augmented_at_full_alone() -> None:
    assert make("ood/cifar10").load_train().on_batch is None
    batch = {"x": torch.rand(8, 3, 32, 32)}
    changed = make("ood/cifar10", augment=True).load_train().on_batch(batch, torch.Generator().manual_seed(0))
    assert changed["x"].shape == batch["x"].shape and not torch.equal(changed["x"], batch["x"])


@pytest.mark.parametrize(("budget", "network"), [("smoke", "resnet8"), ("lite", "resnet8"), ("full", "resnet20")])
def test_all_detectors_share_a_base_and_its_network(budget: str, network: str) -> None:
    methods = [method for task, method in compatible() if task == "ood/cifar10"]
    bases = {resolve("ood/cifar10", method, budget=budget).starts_from()[0].key for method in methods if method != "softmax"}
    base = resolve("ood/cifar10", "softmax", budget=budget)
    assert bases == {base.key} and len(methods) >= 18 and base.config["method"]["backbone"] == network


def test_real_images_are_as_many_as_the_card_says() -> None:
    if not all(map(fetch.available, find("task", "ood/cifar10").card.data)):
        pytest.skip("not all of CIFAR-10, MNIST and Fashion-MNIST are at hand")
    task = make("ood/cifar10", "lite", n_test=50)
    data, test = loaded(task)
    assert len(data.train["y"]) == 20_000 and len(data.valid["y"]) == 500 and set(data.train["y"].tolist()) == set(range(6))
    _, y = loaders.cifar10("train")
    kept = [c for c in range(10) if c not in task.held_out]
    assert np.bincount(data.train["y"]).min() > 3000 and len(kept) == 6 and len(y) == 50_000
    assert all(len(x) == 50 for x in (test["id"]["x"], *test["near"].values(), *test["far"].values()))


def test_full_of_openood_holds_no_class_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of made images that say in one level which set they are of."""

    def made(level: int, *classes: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(classes, 40)
        return np.full((len(y), 32, 32, 3), level, np.uint8), y

    monkeypatch.setattr(loaders, "cifar10", lambda split: made(1 if split == "train" else 2, *range(10)))
    monkeypatch.setattr(loaders, "cifar100", lambda: made(3, 7))
    monkeypatch.setattr(loaders, "svhn", lambda: made(4, 7))
    monkeypatch.setattr(loaders, "mnist", lambda split: (np.full((40, 28, 28), 5, np.uint8), np.zeros(40, int)))
    data, test = loaded(make("ood/cifar10-openood", "full", n_valid=100))
    assert data.spec.n_classes == 10 and data.spec.n_train == 300 and len(test["id"]["y"]) == 400
    levels = {of: int((x * 255).round().max()) for of, x in {"id": test["id"]["x"], **test["near"], **test["far"]}.items()}
    assert {**levels, "noise": 0} == {"id": 2, "cifar100": 3, "mnist": 5, "svhn": 4, "noise": 0}
