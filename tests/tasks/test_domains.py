"""Domains: no target label is seen, views are what they are said to be, gaps are those of scikit-learn's neighbours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from elboard.bench.metrics.conventions import in_range
from elboard.tasks.domains.base import NEIGHBOURS, Domains, told_domains
from elboard.tasks.domains.colored_mnist import AGREE, ColouredMNIST
from elboard.tasks.domains.rotated_mnist import ANGLES, RotatedMNIST
from elboard.tasks.parts.shifts import rotate

FEW = {"n_train": 96, "n_valid": 40, "n_test": 80}


def made(cls: type[Domains], **options: Any) -> tuple[Any, Any]:
    task = cls(cls.Config(**{**FEW, **options}), "smoke", 0)
    return task, task.load_train()


@pytest.mark.parametrize("cls", [RotatedMNIST, ColouredMNIST])
@pytest.mark.parametrize("unlabelled", [True, False])
def test_no_target_label_is_seen(cls: type[Domains], unlabelled: bool) -> None:
    task, data = made(cls, unlabelled=unlabelled)
    domains = task.sources + task.targets * unlabelled
    assert data.spec.domains == domains and data.spec.n_train == 96 * domains and data.spec.sources == task.sources
    for batch in task.batches(data, {"batch_size": 32}, 0):
        assert len(batch["y"]) == len(batch["x"]) == 32 * domains and batch["domain"].bincount().tolist() == [32] * domains
        assert (batch["y"][batch["domain"] >= task.sources] == -1).all() and (batch["y"][batch["domain"] < task.sources] >= 0).all()
    assert data.valid["domain"].max() < task.sources, "nor by validation"


@pytest.mark.parametrize("cls", [RotatedMNIST, ColouredMNIST])
def test_sources_are_the_same_with_and_without_the_targets(cls: type[Domains]) -> None:
    (_, one), (task, two) = made(cls), made(cls, unlabelled=False)
    for name in ("x", "y", "domain"):
        assert one.train[name][:, : task.sources].equal(two.train[name]) and one.valid[name].equal(two.valid[name])


def test_images_of_domains_are_others_in_training_and_the_same_ones_in_tests() -> None:
    task, data = made(RotatedMNIST)
    flat = [{tuple(image.flatten().tolist()) for image in task.load_train().train["x"][:, d]} for d in range(5)]
    assert not flat[0] & {tuple(image.flatten().tolist()) for image in data.valid["x"]}
    test = task.load_test(data)
    assert test["y"].shape == (80, 5) and (test["y"] == test["y"][:, :1]).all()


def test_views_of_turned_digits() -> None:
    task, _ = made(RotatedMNIST)
    x = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    plain, y = task.view(x, torch.arange(3), 0, torch.Generator())
    assert torch.allclose(plain[:, 0], x.unflatten(1, (14, 2)).unflatten(3, (14, 2)).mean((2, 4)), atol=1e-6) and y.tolist() == [0, 1, 2]
    turned, _ = task.view(x, torch.arange(3), 4, torch.Generator())
    assert torch.allclose(turned, torch.nn.functional.avg_pool2d(rotate(x[:, None], ANGLES[4]), 2))


@pytest.mark.parametrize("domain", range(4))
def test_colours_agree_with_labels_as_often_as_is_said(domain: int) -> None:
    task, _ = made(ColouredMNIST)
    y = torch.randint(10, (20_000,), generator=torch.Generator().manual_seed(1))
    x = torch.ones(len(y), 28, 28)
    images, label = task.view(x, y, domain, torch.Generator().manual_seed(0))
    assert images.shape == (len(y), 2, 14, 14) and (images.sum(1) == 1).all(), "in one channel"
    colour = images[:, 1, 0, 0].long()
    assert (colour == label).float().mean().item() == pytest.approx(AGREE[domain], abs=0.01)
    assert (label == (y >= 5)).float().mean().item() == pytest.approx(0.75, abs=0.01)


def test_domains_are_told_as_by_the_neighbours_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(3, 200, 4, generator=generator) + torch.tensor([0, 0.5, 2])[:, None, None] * torch.tensor([1.0, 0, 0, 5])
    told = told_domains(codes)
    scaled = (codes.double() / codes.double().flatten(0, 1).std(0)).numpy()
    known, asked = scaled[:, :100].reshape(300, 4), scaled[:, 100:].reshape(300, 4)
    expected = KNeighborsClassifier(NEIGHBOURS, algorithm="brute").fit(known, np.repeat(range(3), 100)).predict(asked)
    assert np.array_equal(told.flatten().numpy(), expected)


def test_gaps_are_one_of_domains_apart_and_about_none_of_domains_alike() -> None:
    base = torch.randn(4, 600, 3, generator=torch.Generator().manual_seed(0))
    apart = base + 50 * torch.arange(4)[:, None, None]
    for codes, gap in ((apart, 1.0), (base, 0.0), (torch.zeros(4, 600, 3), 0.0)):
        arrays = {"hit": np.ones((5, 4)), "nll": np.zeros((5, 4)), "told": told_domains(codes).numpy().T, "sources": np.array(2)}
        assert RotatedMNIST.measure(arrays, None)["domain_gap"] == pytest.approx(gap, abs=0.04)


def test_metrics_are_those_of_the_predictions() -> None:
    task, data = made(RotatedMNIST)
    test = task.load_test(data)
    weights = torch.randn(196, 10, generator=torch.Generator().manual_seed(0))
    method = SimpleNamespace(codes=lambda x: x.flatten(1), probabilities=lambda x: (x.flatten(1) @ weights).softmax(1))
    found = task.measure(task.observe(method, data, test, []).arrays, None)
    hits, nlls = [], []
    for d in range(5):
        p, y = method.probabilities(test["x"][:, d]).double().numpy(), test["y"][:, d].numpy()
        hits.append((p.argmax(1) == y).mean())
        nlls.append(-np.log(np.maximum(p[np.arange(80), y], 1e-12)).mean())
        assert found[f"accuracy/d{d}"] == hits[d] and found[f"class_nll/d{d}"] == pytest.approx(nlls[d], rel=1e-5)
    assert found["accuracy/source"] == pytest.approx(np.mean(hits[:3])) and found["accuracy/target"] == pytest.approx(np.mean(hits[3:]))
    assert found["accuracy/worst"] == min(hits[3:]) and found["class_nll/worst"] == pytest.approx(max(nlls[3:]), rel=1e-5)
    assert all(in_range(name, value) for name, value in found.items())
    valid = task.validate(method, data)
    p, y = method.probabilities(data.valid["x"]), data.valid["y"]
    assert valid["accuracy/source"] == pytest.approx((p.argmax(1) == y).float().mean().item())
