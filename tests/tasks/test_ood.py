"""The out-of-distribution tasks: splits, levels, jigsaws, means."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.card import MethodCard
from elboard.bench.evidence import scored
from elboard.bench.kinds.classification import Classifier
from elboard.bench.kinds.ood import OutlierOracle
from elboard.bench.metrics.ood import ood_metrics
from elboard.bench.registry import find
from elboard.tasks.data.loaders import digits
from elboard.tasks.data.task import upsampled_digits
from elboard.tasks.ood.base import averages, jigsaw, noise, separate

FAR = {
    "ood/digits": ["inverted", "noise"],
    "ood/mnist": ["fashion-mnist", "notmnist", "noise"],
    "ood/fashion-mnist": ["mnist", "notmnist", "noise"],
}
BOTH = [("ood/digits", "smoke"), ("ood/digits", "lite"), ("ood/mnist", "smoke"), ("ood/fashion-mnist", "smoke")]


def make(name, budget="smoke", seed=0, **options):
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget]["task"], **options}), budget, seed)


def rows(x):
    return [image.numpy().tobytes() for image in x]


def outside(test):
    return {**test["near"], **test["far"]}


def jigsaws_of(task, data):
    """What a method is asked about at validation beside the validation images."""
    seen = []
    task._against_jigsaws(Scorer(lambda row: seen.append(row) or 0), data)
    assert seen[: len(data.valid["x"])] == rows(data.valid["x"])
    found = np.frombuffer(b"".join(seen[len(data.valid["x"]) :]), dtype=np.float32)
    return torch.from_numpy(found.copy()).view_as(data.valid["x"])


def truth(name):
    """Label of each digit, in the size of the task, by its levels."""
    (x, y), levels = (digits(), 17) if name == "ood/digits" else (upsampled_digits(), 256)
    scaled = torch.from_numpy(x).float()[:, None] / (levels - 1)
    return {image: int(label) for image, label in zip(rows(scaled), y, strict=True)}


class Scorer:
    """Scores images by a function of their bytes."""

    def __init__(self, function):
        self.function = function

    def ood_score(self, x):
        return torch.tensor([float(self.function(image)) for image in rows(x)])


class Known(Scorer, Classifier):
    """Knows the labels of the images that are in distribution."""

    def __init__(self, data, test):
        known = {row: int(y) for part in (data.valid, test["id"]) for row, y in zip(rows(part["x"]), part["y"], strict=True)}
        super().__init__(lambda row: row not in known)
        self.known, self.n_classes, self.draws = known, data.spec.n_classes, set()

    def predict(self, x, n_samples=1):
        self.draws.add(n_samples)
        chosen = torch.tensor([self.known[row] for row in rows(x)])
        return torch.nn.functional.one_hot(chosen, self.n_classes).float()[None].repeat(n_samples, 1, 1)


@pytest.mark.parametrize(("name", "budget"), BOTH)
def test_splits(name, budget):
    task = make(name, budget)
    (data, test), label = loaded(task), truth(name)
    parts = {"train": data.train, "valid": data.valid, "test": test["id"]}
    kept = [c for c in range(10) if c not in task.held_out]
    assert data.spec.n_classes == len(kept) and data.spec.n_train == len(data.train["y"])
    for part in parts.values():
        found = [label[row] for row in rows(part["x"])]
        assert not set(found) & set(task.held_out), "a class held out"
        assert [kept[y] for y in part["y"]] == found and set(found) == set(kept), "labels are renumbered in order"
    images = {field: set(rows(part["x"])) for field, part in parts.items()}
    assert not images["train"] & images["valid"] and not (images["train"] | images["valid"]) & images["test"]
    assert {label[row] for row in rows(test["near"]["held-out"])} == set(task.held_out)


@pytest.mark.parametrize(("name", "budget"), BOTH)
def test_levels_and_names(name, budget):
    task = make(name, budget)
    data, test = loaded(task)
    assert data.spec.likelihood == "discretised-logistic" and data.spec.levels == task.levels and data.spec.shape[0] == 1
    assert list(test["near"]) == ["held-out"] and list(test["far"]) == FAR[name] and task.foreign == tuple(FAR[name][:-1])
    for x in (data.train["x"], data.valid["x"], test["id"]["x"], jigsaws_of(task, data), *outside(test).values()):
        level = x * (task.levels - 1)
        assert x.dtype == torch.float32 and x.shape[1:] == data.spec.shape and x.min() >= 0 and x.max() == 1
        assert torch.equal((level.round() / (task.levels - 1)), x) and len(x) > 0


@pytest.mark.parametrize(("name", "budget"), BOTH)
def test_validation_belongs_to_no_test_set(name, budget):
    task = make(name, budget)
    data, test = loaded(task)
    jigsaws = jigsaws_of(task, data)
    seen = {row for x in (test["id"]["x"], data.train["x"], *outside(test).values()) for row in rows(x)}
    assert len(jigsaws) == len(data.valid["x"]) and not seen & set(rows(jigsaws))
    # each is a jigsaw of the validation image at its place
    assert torch.equal(jigsaws.flatten(1).sort(1).values, data.valid["x"].flatten(1).sort(1).values)
    assert not (jigsaws == data.valid["x"]).flatten(1).all(1).any()


@pytest.mark.parametrize(("name", "budget"), BOTH)
def test_images_do_not_depend_on_the_seed_of_the_run(name, budget):
    torch.manual_seed(3)
    np.random.seed(3)
    tasks = make(name, budget, seed=0), make(name, budget, seed=7)
    (a, test_a), (b, test_b) = map(loaded, tasks)
    for one, other in ((a.train, b.train), (a.valid, b.valid), (test_a["id"], test_b["id"])):
        assert torch.equal(one["x"], other["x"]) and torch.equal(one["y"], other["y"])
    assert torch.equal(jigsaws_of(tasks[0], a), jigsaws_of(tasks[1], b))
    assert all(torch.equal(x, outside(test_b)[of]) for of, x in outside(test_a).items())


def test_smaller_subsets_are_parts_of_larger_ones():
    (_, few), (_, many) = loaded(make("ood/mnist", n_test=50)), loaded(make("ood/mnist", n_test=0))
    assert torch.equal(few["id"]["x"], many["id"]["x"][:50]) and len(many["id"]["x"]) > 200
    for name in ("held-out", "notmnist", "noise"):
        assert torch.equal(outside(few)[name], outside(many)[name][:50]), name


def test_classes_held_out_of_digits_are_wholly_test_images():
    _, y = digits()
    _, test = loaded(make("ood/digits", "full"))
    assert len(test["near"]["held-out"]) == (y >= 7).sum()
    assert torch.equal(test["far"]["inverted"], ((1 - test["id"]["x"]) * 16).round() / 16)


def test_separate_renumbers():
    x, y = np.arange(8), np.array([4, 0, 3, 9, 1, 3, 0, 9])
    (kept, labels), out = separate(x, y, (0, 3))
    assert kept.tolist() == [0, 3, 4, 7] and labels.tolist() == [1, 2, 0, 2] and out.tolist() == [1, 2, 5, 6]


def test_a_jigsaw_moves_whole_squares():
    x = np.arange(3 * 8 * 12, dtype=np.int64).reshape(3, 8, 12)
    mixed = jigsaw(x, 4, 0)

    def squares(image):
        return [image[i : i + 4, j : j + 4].tolist() for i in (0, 4) for j in (0, 4, 8)]

    orders = []
    for before, after in zip(x, mixed, strict=True):
        orders.append([squares(before).index(square) for square in squares(after)])
        assert sorted(orders[-1]) == list(range(6))
    assert orders[0] != orders[1] or orders[1] != orders[2]
    assert np.array_equal(jigsaw(x, 4, 0), mixed) and not np.array_equal(jigsaw(x, 4, 1), mixed)


def test_noise_is_uniform_over_the_levels():
    counts = np.bincount(noise(200, (8, 8), 17, 0).ravel(), minlength=17)
    assert len(counts) == 17 and np.abs(counts / 12800 - 1 / 17).max() < 0.01


@pytest.mark.parametrize("name", FAR)
def test_a_perfect_and_a_constant_scorer(name):
    task = make(name)
    data, test = loaded(task)
    best = task.score(task.observe(Known(data, test), data, test, []).arrays)
    for of in ("held-out", *FAR[name], "near", "far", "mean", "validation"):
        assert best[f"auroc/{of}"] == 1.0
        assert of == "validation" or best[f"fpr95_id_positive/{of}"] == best[f"fpr95_ood_positive/{of}"] == 0.0
    assert best["accuracy"] == 1.0 and best["ece"] == best["class_nll"] == 0.0
    scores = scored(task, task.observe(Scorer(lambda row: 0.25), data, test, []))
    same, evidence = scores.metrics, scores.evidence
    assert all(value == 0.5 for key, value in same.items() if key.startswith("auroc/"))
    assert "accuracy" not in same and "p" not in evidence


@pytest.mark.parametrize("name", FAR)
def test_metrics_are_of_the_evidence_and_averages_are_means(name):
    task = make(name)
    data, test = loaded(task)
    scores = scored(task, task.observe(Scorer(lambda row: zlib.crc32(row) % 1000), data, test, []))
    metrics, evidence = scores.metrics, scores.evidence
    score = {key[6:]: value for key, value in evidence.items() if key.startswith("score_")}
    assert all(value.dtype == np.float32 for value in score.values()) and set(score) == {"id", "held-out", *FAR[name]}
    for of in ("held-out", *FAR[name]):
        for key, value in ood_metrics(score["id"], score[of]).items():
            assert metrics[f"{key}/{of}"] == value
    for key in ("auroc", "aupr_in", "aupr_out", "fpr95_ood_positive", "fpr95_id_positive"):
        assert metrics[f"{key}/near"] == metrics[f"{key}/held-out"]
        assert metrics[f"{key}/far"] == pytest.approx(np.mean([metrics[f"{key}/{of}"] for of in FAR[name]]))
        assert metrics[f"{key}/mean"] == pytest.approx(np.mean([metrics[f"{key}/{of}"] for of in ("held-out", *FAR[name])]))


def test_averages():
    found = averages({"near": {"a": {"auroc": 0.2}}, "far": {"b": {"auroc": 0.6}, "c": {"auroc": 1.0}}})
    assert found == pytest.approx({"auroc/a": 0.2, "auroc/b": 0.6, "auroc/c": 1.0, "auroc/near": 0.2, "auroc/far": 0.8, "auroc/mean": 0.6})


def test_validation_sees_no_test_image_and_averages_draws():
    task = make("ood/digits", n_samples=3)
    data, test = loaded(task)
    model = Known(data, test)
    assert task.validate(model, data) == {"auroc/validation": 1.0, "accuracy": 1.0} and model.draws == {3}
    assert task.validate(Scorer(lambda row: 0), data) == {"auroc/validation": 0.5}


def test_scores_that_are_not_finite_are_refused():
    task = make("ood/digits")
    with pytest.raises(ValueError, match="finite"):
        task.score(task.observe(Scorer(lambda row: float("nan")), *loaded(task), []).arrays)


class Teller(Scorer, OutlierOracle):
    """Finds what it is told, and nothing else; remembers what that was."""

    def __init__(self, oracle):
        super().__init__(lambda row: 0)
        self.card, self.heard = MethodCard("teller", "", "test", oracle=oracle), []

    def told(self, outside):
        self.heard.append({*rows(outside)})
        return Scorer(self.heard[-1].__contains__)


def test_a_task_tells_oracles_of_each_set_and_no_other_method():
    task = make("ood/mnist", n_test=40)
    data, test = loaded(task)
    oracle, method = Teller("all of it"), Teller("")
    assert task.validate(oracle, data) == {"auroc/validation": 1.0} and task.validate(method, data) == {"auroc/validation": 0.5}
    jigsaws = jigsaws_of(task, data)
    found = scored(type(task), task.observe(oracle, data, test, []))
    assert oracle.heard == [{*rows(jigsaws)}, *({*rows(x)} for x in outside(test).values()), {*rows(jigsaws)}]
    assert {found.metrics[f"auroc/{name}"] for name in ("mean", *outside(test))} == {1.0}
    assert {f"score_id_{name}" for name in outside(test)} <= {*found.evidence}
    plain = task.observe(method, data, test, [])
    assert method.heard == [] and not [name for name in plain.arrays if name.startswith("score_id_")]
    assert type(task).score(plain.arrays)["auroc/mean"] == 0.5
