"""The noisy-label tasks: corruption, splits, metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loading import loaded
from scipy import stats

from elboard.bench.kinds.noisy import NoiseDraws, PrefixClassifier, SampleSelector
from elboard.bench.kinds.teacher import ManyLabels
from elboard.bench.metrics.noisy import over_draws, prefix_defect
from elboard.bench.registry import find
from elboard.tasks.data.loaders import digits
from elboard.tasks.noisy import cifar10n_worst
from elboard.tasks.noisy.base import DIGITS_TEST, asymmetric, corrupt, enlarge, split_digits, symmetric
from elboard.tasks.noisy.instance import flip_rates, given_probabilities
from elboard.tasks.parts.augmentation import PAD, crop_and_flip

NAMES = ("noisy/digits-sym40", "noisy/mnist-sym50", "noisy/mnist-instance40", "noisy/fashion-asym40", "noisy/cifar10n-worst")


def make(name, budget="smoke", seed=0, **options):
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget]["task"], **options}), budget, seed)


class Lookup:
    """A classifier that knows a label for every image."""

    def __init__(self, pairs, n_classes=10):
        self.labels = {x.numpy().tobytes(): int(label) for images, labels in pairs for x, label in zip(images, labels, strict=True)}
        self.n_classes = n_classes

    def predict(self, x, n_samples=1):
        chosen = torch.tensor([self.labels[image.numpy().tobytes()] for image in x])
        return torch.nn.functional.one_hot(chosen, self.n_classes).float()[None]


def memoriser(data, test):
    return Lookup([(test["x"], test["y"]), (data.train["x"], data.train["y"])])


def perfect(data, test):
    return Lookup([(test["x"], test["y"]), (data.train["x"], test["clean"])])


def test_transition_matrices():
    matrix = symmetric(10, 0.5)
    assert np.allclose(matrix.sum(1), 1) and np.allclose(np.diag(matrix), 0.5) and np.allclose(matrix[0, 1:], 0.5 / 9)
    matrix = asymmetric(4, 0.4, {1: 2, 2: 1})
    assert matrix.tolist() == [[1, 0, 0, 0], [0, 0.6, 0.4, 0], [0, 0.4, 0.6, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("transition", [symmetric(10, 0.5), symmetric(10, 0.4), find("task", "noisy/fashion-asym40").load().transition])
def test_empirical_rates_are_those_of_the_matrix(transition):
    clean = np.arange(50_000) % 10
    given = corrupt(clean, transition)
    seen = np.zeros((10, 10))
    np.add.at(seen, (clean, given), 1 / 5000)
    assert np.abs(seen - transition).max() < 5 * 0.5 / 5000**0.5
    assert (seen[transition == 0] == 0).all()
    expected = 1 - np.diag(transition).mean()
    assert abs((given != clean).mean() - expected) < 5 * 0.5 / 50_000**0.5


def test_instance_noise_is_that_of_its_description():
    """Rates by a truncated normal law, targets by linear maps of the image: against a loop that follows the paper's algorithm."""
    random = np.random.RandomState(3)
    x, clean = np.random.default_rng(0).random((40, 5)), np.arange(40) % 4
    p = given_probabilities(x, clean, 4, 0.4, random)
    again = np.random.RandomState(3)
    q = flip_rates(40, 0.4, again)
    maps = [again.standard_normal((5, 4)) for _ in range(4)]
    for i in range(40):
        a = x[i] @ maps[clean[i]]
        weights = [math.exp(a[j]) if j != clean[i] else 0.0 for j in range(4)]
        expected = [q[i] * w / sum(weights) for w in weights]
        expected[clean[i]] = 1 - q[i]
        np.testing.assert_allclose(p[i], expected, rtol=1e-10)
    assert np.allclose(p.sum(1), 1)


def test_flip_rates_are_scipys_truncated_normal():
    for rate in (0.1, 0.4, 0.9):
        q = flip_rates(20_000, rate, np.random.RandomState(0))
        law = stats.truncnorm((0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        assert q.min() >= 0 and q.max() <= 1 and stats.kstest(q, law.cdf).pvalue > 0.01
    assert stats.truncnorm(-4, 6, loc=0.4, scale=0.1).mean() == pytest.approx(0.4, abs=2e-5)


def test_the_realised_rate_is_the_stated_one_and_depends_on_the_image():
    task = make("noisy/mnist-instance40")
    x, clean = task.stand_in("train")
    x, clean = np.tile(x, (8, 1, 1)), np.tile(clean, 8)
    given = task.corrupted(x, clean)
    n, wrong = len(clean), given != clean
    assert abs(wrong.mean() - task.noise_rate) < 5 * 0.5 / n**0.5
    copies = given.reshape(8, -1)  # of each image eight draws, with rates of their own
    flips = np.array([np.bincount(of[of != true], minlength=10) for of, true in zip(copies.T, clean, strict=False)])
    pairs = (flips * (flips - 1)).sum() / (flips.sum(1) * (flips.sum(1) - 1)).sum()
    classes = np.array([np.bincount(given[wrong & (clean == true)], minlength=10) for true in range(10)])
    shared = (classes * (classes - 1)).sum() / (classes.sum(1) * (classes.sum(1) - 1)).sum()
    assert pairs > 1.5 * shared, "copies of one image are mistaken alike, more than images of one class"
    assert (task.corrupted(x, clean) == given).all()


def test_certain_flips_and_no_flips():
    clean = np.arange(1000) % 10
    assert (corrupt(clean, symmetric(10, 0.0)) == clean).all() and not (corrupt(clean, symmetric(10, 1.0)) == clean).any()


@pytest.mark.parametrize("name", NAMES)
def test_smoke_data(name):
    task = make(name)
    data, test = loaded(task)
    if name != "noisy/mnist-instance40":  # of which no matrix holds
        assert data.spec.noise_rate == pytest.approx(1 - np.diag(task.transition).mean())
    assert data.spec.n_classes == 10 and data.train["x"].shape[1:] == data.spec.shape and data.spec.n_train == 256
    for batch in (data.train, data.valid, test):
        assert batch["x"].dtype == torch.float32 and batch["x"].min() >= 0 and batch["x"].max() == 1 and batch["y"].dtype == torch.int64
    assert torch.equal(data.train["index"], torch.arange(256))
    wrong = (data.train["y"] != test["clean"]).float().mean()
    assert abs(wrong - task.noise_rate) < 0.15


@pytest.mark.parametrize("name", NAMES)
def test_corruption_and_split_do_not_depend_on_the_seed_of_the_run(name):
    a, b = make(name, seed=0).load_train(), make(name, seed=7).load_train()
    torch.manual_seed(1)
    c = make(name, seed=0, n_train=100).load_train()
    assert all(torch.equal(a.train[field], b.train[field]) for field in a.train) and torch.equal(a.valid["y"], b.valid["y"])
    assert torch.equal(c.train["y"], a.train["y"][:100])  # a smaller budget has the same wrong labels


def test_digits_split_is_disjoint_and_its_test_labels_are_clean():
    images, labels = digits()
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    data, test = loaded(make("noisy/digits-sym40", "lite"))
    assert [len(batch["y"]) for batch in (data.train, data.valid, test)] == [1000, 300, DIGITS_TEST]
    keys = {}
    for name, batch in (("train", data.train), ("valid", data.valid), ("test", test)):
        rows = (batch["x"][:, 0] * 16).round().to(torch.uint8).numpy()
        keys[name] = [row.tobytes() for row in rows]
        assert set(keys[name]) <= set(known)
    assert not set(keys["train"]) & set(keys["test"]) and not set(keys["train"]) & set(keys["valid"])
    assert [known[key] for key in keys["test"]] == test["y"].tolist()
    assert [known[key] for key in keys["train"]] == test["clean"].tolist()
    wrong = np.mean([known[key] != label for key, label in zip(keys["valid"], data.valid["y"].tolist(), strict=True)])
    assert 0.3 < wrong < 0.5  # selection sees labels as noisy as those of training


def test_cifar_takes_the_human_labels(monkeypatch):
    rng = np.random.default_rng(0)
    images, clean, human = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8), np.arange(60) % 10, rng.integers(0, 10, 60)
    monkeypatch.setattr(cifar10n_worst, "cifar10", lambda split: (images, clean))
    monkeypatch.setattr(cifar10n_worst, "cifar10n", lambda: {"worse_label": human})
    data, test = loaded(make("noisy/cifar10n-worst", "full", n_valid=10))
    known = {images[i].tobytes(): i for i in range(60)}
    rows = (data.train["x"] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    index = [known[row.tobytes()] for row in rows]
    assert len(index) == 50 and data.train["y"].tolist() == human[index].tolist() and test["clean"].tolist() == clean[index].tolist()
    assert test["y"].tolist() == clean.tolist() and data.on_batch is crop_and_flip
    assert make("noisy/cifar10n-worst", "lite").load_train().on_batch is None


def test_crops_are_shifted_and_mirrored_copies():
    x = torch.rand(40, 3, 32, 32)
    padded = torch.nn.functional.pad(x, (PAD,) * 4)
    cut = crop_and_flip({"x": x, "y": torch.arange(40)}, torch.Generator().manual_seed(0))
    again = crop_and_flip({"x": x, "y": torch.arange(40)}, torch.Generator().manual_seed(0))
    assert torch.equal(cut["x"], again["x"]) and torch.equal(cut["y"], torch.arange(40))
    found = []
    for i in range(40):
        places = [
            (top, left, mirrored)
            for top in range(2 * PAD + 1)
            for left in range(2 * PAD + 1)
            for mirrored in (False, True)
            if torch.equal(
                padded[i, :, top : top + 32, left : left + 32].flip(2) if mirrored else padded[i, :, top : top + 32, left : left + 32],
                cut["x"][i],
            )
        ]
        assert len(places) == 1
        found += places
    assert len({place[:2] for place in found}) > 20 and {place[2] for place in found} == {False, True}


def test_digits_in_other_shapes():
    x = np.full((1, 8, 8), 16)
    assert enlarge(x, (1, 28, 28)).shape == (1, 28, 28) and enlarge(x, (3, 32, 32)).shape == (1, 32, 32, 3)
    assert enlarge(x, (1, 28, 28)).sum() == 24 * 24 * 255 and enlarge(x, (3, 32, 32)).min() == 255


def test_memorised_of_a_memoriser_and_of_a_perfect_classifier():
    task = make("noisy/digits-sym40")
    data, test = loaded(task)
    memory, clean = (task.score(task.observe(model, data, test, []).arrays) for model in (memoriser(data, test), perfect(data, test)))
    assert memory["memorised"] == 1.0 and clean["memorised"] == 0.0
    assert memory["accuracy"] == clean["accuracy"] == 1.0 and clean["ece"] == 0.0 and clean["class_nll"] == 0.0
    assert "label_precision" not in memory


def test_metrics_over_epochs():
    task = make("noisy/digits-sym40")
    data, test = loaded(task)
    model = perfect(data, test)
    epochs = dict.fromkeys(("accuracy_last", "accuracy_best", "accuracy_peak", "accuracy_last10"), 1.0)
    metrics = task.score(task.observe(model, data, test, []).arrays)
    assert {name: metrics[name] for name in epochs} == epochs  # a closed form has no epochs
    rows = [{"epoch": i, "train/loss": 0.0, "valid/accuracy": 0.5 - abs(i - 2) / 10, "track/accuracy": i / 20} for i in range(12)]
    rows.append({"epoch": 12, "train/loss": 0.0})  # was not validated
    metrics = task.score(task.observe(model, data, test, rows).arrays)
    assert metrics["accuracy_last"] == metrics["accuracy_peak"] == 11 / 20 and metrics["accuracy_best"] == 2 / 20
    assert metrics["accuracy_last10"] == pytest.approx(6.5 / 20)


class Selecting(Lookup, SampleSelector):
    """Says that it selected ``chosen``."""

    chosen = torch.zeros(0, dtype=torch.bool)

    def selection(self):
        return self.chosen


def test_label_precision_of_what_the_method_selected():
    task = make("noisy/digits-sym40")
    data, test = loaded(task)
    good = data.train["y"] == test["clean"]
    model = Selecting([(test["x"], test["y"]), (data.train["x"], test["clean"])])
    for chosen, value in ((good, 1.0), (~good, 0.0), (torch.ones_like(good), good.double().mean().item())):
        model.chosen = chosen
        metrics = task.score(task.observe(model, data, test, []).arrays)
        assert metrics["label_precision"] == pytest.approx(value)
    model.chosen = torch.zeros_like(good)
    assert "label_precision" not in task.score(task.observe(model, data, test, []).arrays)


def test_what_a_method_does_not_declare_is_not_touched():
    """A buffer that happens to be called as one that some methods have."""
    task = make("noisy/digits-sym40")
    data, test = loaded(task)
    model = perfect(data, test)
    model.selected, model.prefix = torch.ones(3, dtype=torch.bool), torch.tensor(5)
    observed = task.observe(model, data, test, [])
    assert not {"train_selected", "prefix_test", "prefix_chosen"} & {*observed.arrays}
    assert not {"label_precision", "prefix_share", "prefix_defect"} & {*task.score(observed.arrays)}


class Uniform:
    """Has an attribute ``labels`` of its own meaning."""

    labels = torch.zeros(7)

    def predict(self, x, n_samples=1):
        return torch.full((1, len(x), 4), 0.25)


class Three(Uniform, ManyLabels):
    def labels_learned(self):
        return 3


def test_labels_learned_are_those_that_a_method_declares():
    task = make("noisy/teacher")
    data, test = loaded(task)
    for model, m in ((Uniform(), 1), (Three(), 3)):
        counts = task.observe(model, data, test, []).arrays["train_counts"]
        assert (counts.sum(1) == m).all()
        assert np.array_equal(counts, np.stack([(data.train["labels"][:, :m] == c).sum(1) for c in range(4)], 1))


# --- prefixes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "chosen", "value"),
    [
        ([0.1, 0.5, 0.9, 0.8, 0.3], 3, 0.0),  # unimodal
        ([0.4, 0.1, 0.9, 0.9, 0.9], 3, 0.0),  # flat behind
        ([0.4, 0.3, 0.9, 0.7, 0.75], 3, 0.1),  # falls by 0.1, rises by 0.05, and is not flat
        ([0.1, 0.9, 0.8, 0.88, 0.85], 2, 0.08),
        ([0.1, 0.5, 0.9, 0.9, 0.92], 3, 0.02),  # rises by as much as it is not flat
        ([0.2, 0.3], 2, 0.0),
        ([0.3, 0.2], 1, 0.0),
    ],
)
def test_a_curve_over_prefixes_is_unimodal_or_flat_up_to_its_defect(curve, chosen, value):
    assert prefix_defect(np.array(curve), chosen) == pytest.approx(value, abs=1e-12)


class Prefixes(Lookup, PrefixClassifier):
    """Right on all images with the chosen number of features, on half of them with others."""

    def chosen_prefix(self):
        return 2

    def prefix_accuracies(self, x, y):
        return torch.tensor([0.5, 1.0, 0.5, 0.5, 0.75, 0.5, 0.5, 0.5])


def test_prefixes_are_measured_of_methods_that_have_them():
    task = make("noisy/digits-sym40")
    data, test = loaded(task)
    model = Prefixes([(test["x"], test["y"]), (data.train["x"], test["clean"])])
    observed = task.observe(model, data, test, [])
    metrics = task.score(task.compact(observed.arrays))
    assert metrics["prefix_share"] == metrics["prefix_needed"] == metrics["prefix_defect"] == 0.25
    model.chosen_prefix = lambda: 5
    metrics = task.score(task.observe(model, data, test, []).arrays)
    assert metrics["prefix_share"] == 5 / 8 and metrics["prefix_needed"] == 2 / 8, "the first that reaches it"


# --- several draws of the noise -------------------------------------------------------------------


class Population(NoiseDraws):
    """Classifier r knows the label of its own draw, and of a test image the true one or, of each third image, r."""

    def __init__(self, data, test):
        self.known = [Lookup([(part["x"], part["labels"][:, r]) for part in (data.train, data.valid)]) for r in range(data.spec.draws)]
        for r, lookup in enumerate(self.known):
            y = torch.where(torch.arange(len(test["y"])) % 3 == 0, r, test["y"])
            lookup.labels |= {image.numpy().tobytes(): int(label) for image, label in zip(test["x"], y, strict=True)}

    def draws(self, x):
        return torch.cat([lookup.predict(x) for lookup in self.known])


@pytest.mark.parametrize("name", ["noisy/digits-redrawn", "noisy/mnist-redrawn"])
def test_labels_are_drawn_anew_and_images_are_not(name):
    task, once = make(name), make({"noisy/digits-redrawn": "noisy/digits-sym40", "noisy/mnist-redrawn": "noisy/mnist-sym50"}[name])
    (data, test), (plain, clean) = loaded(task), loaded(once)
    labels = data.train["labels"]
    assert torch.equal(data.train["x"], plain.train["x"]) and torch.equal(data.valid["x"], plain.valid["x"])
    assert torch.equal(test["x"], clean["x"]) and labels.shape == (data.spec.n_train, data.spec.draws) and "y" not in data.train
    wrong = (labels != clean["clean"][:, None]).double()
    assert (wrong.mean(0) - task.noise_rate).abs().max() < 0.1
    assert np.abs(np.corrcoef(wrong.numpy().T) - np.eye(4)).max() < 0.2, "independent of one another"
    (other, _) = loaded(make(name, seed=5))
    assert torch.equal(other.train["labels"], labels) and torch.equal(other.valid["labels"], data.valid["labels"])


def test_metrics_over_draws_are_of_the_predictions():
    task = make("noisy/digits-redrawn")
    data, test = loaded(task)
    model = Population(data, test)
    assert task.validate(model, data) == {"accuracy": 1.0}, "each by its own labels"
    found = task.score(task.observe(model, data, test, []).arrays)
    third, y = torch.arange(len(test["y"])) % 3 == 0, test["y"]
    wrong = [float((third & (y != r)).double().mean()) for r in range(4)]
    assert found["draw_brier"] == pytest.approx(2 * np.mean(wrong)) and found["accuracy"] == pytest.approx(1 - np.mean(wrong))
    assert found["draw_variance"] == pytest.approx(float(third.double().mean())), "one of four classes each: 4 (3/4) / 3"


def test_bias_and_variance_over_draws_without_bias():
    """Of binomial frequencies, whose bias and variance are known."""
    rng = np.random.default_rng(0)
    truth, n, draws = np.array([0.7, 0.2, 0.1]), 20, 4
    y = rng.choice(3, 20_000)
    p = rng.multinomial(n, truth, (len(y), draws)) / n
    found = over_draws(p, y)
    bias = np.mean([((truth - np.eye(3)[c]) ** 2).sum() for c in y])
    assert found["draw_variance"] == pytest.approx((truth * (1 - truth)).sum() / n, rel=0.02)
    assert found["draw_bias"] == pytest.approx(bias, abs=4e-3)
    assert found["draw_brier"] == pytest.approx(((p - np.eye(3)[y][:, None]) ** 2).sum(2).mean())


def test_validation_accuracy_is_noisy_and_the_tracked_one_is_clean():
    task = make("noisy/digits-sym40", n_track=100)
    data, test = loaded(task)
    x, y = split_digits("train")
    truth = Lookup([(task._batch(x, y)["x"], y), (test["x"], test["y"])])
    seen = []
    truth.predict, predict = (lambda images, n_samples=1: (seen.append(len(images)), predict(images))[1]), truth.predict
    scores = task.validate(truth, data)
    assert scores.keys() == {"accuracy"} and 0.4 < scores["accuracy"] < 0.8 and seen == [128]
    assert task.track(truth, data, test) == {"accuracy": 1.0} and 100 <= sum(seen[1:]) <= 125
