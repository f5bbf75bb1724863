"""Fashion-MNIST for models of its likelihood: binary images, sets and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from sklearn.metrics import roc_curve

from elboard.bench.evidence import scored
from elboard.bench.kinds.likelihood import HierarchicalLikelihood
from elboard.bench.registry import compatible, find
from elboard.tasks.ood.fashion_mnist_generative import FashionMNISTGenerative, constants

NAME = "ood/fashion-mnist-generative"
SETS = ("turned", "mnist", "notmnist", "constant", "noise")


def make(seed: int = 0, **options: Any) -> FashionMNISTGenerative:
    entry = find("task", NAME)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()["smoke"]["task"], **options}), "smoke", seed)


def outside(test: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {**test["near"], **test["far"]}


class Whites:
    """Scores images by their number of white pixels."""

    def ood_score(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(1)


def test_all_images_are_binary_but_those_that_training_binarises() -> None:
    task = make()
    data, test = loaded(task)
    assert data.spec.likelihood == "bernoulli" and not hasattr(data.spec, "n_classes") and set(data.train) == {"x"}
    assert tuple(outside(test)) == SETS
    for x in (data.valid["x"], test["id"]["x"], *outside(test).values()):
        assert x.shape[1:] == data.spec.shape == (1, 28, 28) and set(x.unique().tolist()) <= {0.0, 1.0} and len(x) == 100
    grey, generator = data.train["x"], torch.Generator().manual_seed(0)
    assert len(grey.unique()) > 100
    shown = torch.stack([data.on_batch({"x": grey[:5]}, generator)["x"] for _ in range(400)])
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(shown.mean(0), grey[:5], atol=0.15, rtol=0)


def test_images_do_not_depend_on_the_seed_of_the_run() -> None:
    (a, test_a), (b, test_b) = loaded(make(0)), loaded(make(7))
    assert torch.equal(a.train["x"], b.train["x"]) and torch.equal(a.valid["x"], b.valid["x"])
    assert torch.equal(test_a["id"]["x"], test_b["id"]["x"])
    assert all(torch.equal(x, outside(test_b)[of]) for of, x in outside(test_a).items())


def test_what_the_sets_hold() -> None:
    """Turned images are binarised by noise of their own; constants are noise of any density, noise of one half."""
    _, test = loaded(make(n_test=0))
    sets, inside = outside(test), test["id"]["x"]
    white = {of: x.flatten(1).mean(1) for of, x in sets.items()}
    assert abs(white["noise"].mean() - 0.5) < 0.01 and white["noise"].std() < 0.03
    assert white["constant"].min() < 0.02 and white["constant"].max() > 0.98 and white["constant"].std() > 0.25
    torch.testing.assert_close(white["turned"], inside.flatten(1).mean(1), atol=0.1, rtol=0)
    back = sets["turned"].rot90(-1, (2, 3))
    assert (back == inside).float().mean() > 0.75 > (sets["turned"] == inside).float().mean() and not torch.equal(back, inside)
    levels = constants(5, (4, 3), 0)
    assert levels.shape == (5, 4, 3) and all(len(np.unique(image)) == 1 for image in levels)


def test_the_share_flagged_at_80_percent_is_scikit_learns() -> None:
    task = make()
    data, test = loaded(task)
    found = scored(type(task), task.observe(Whites(), data, test, []))
    inside = found.evidence["score_id"]
    for of in SETS:
        out = found.evidence[f"score_{of}"]
        false, true, _ = roc_curve(np.r_[np.zeros(len(inside)), np.ones(len(out))], np.r_[inside, out], drop_intermediate=False)
        assert found.metrics[f"fpr80_ood_positive/{of}"] == pytest.approx(false[true >= 0.8].min(), abs=1e-12)
    assert found.metrics["auroc/near"] == found.metrics["auroc/turned"]
    assert found.metrics["auroc/mean"] == pytest.approx(np.mean([found.metrics[f"auroc/{of}"] for of in SETS]))
    assert found.metrics["auroc/validation"] == 0.5, "jigsaws have as many white pixels"


class Layers(Whites, HierarchicalLikelihood):
    """Two layers, of which the KL of an image is twice and three times its number of white pixels."""

    layers = 2

    def elbo(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        white = x.flatten(1).sum(1)
        return {"kl_1": 2 * white, "kl_2": 3 * white}

    def log_evidence(self, x: torch.Tensor, k: int) -> torch.Tensor:
        raise NotImplementedError

    def log_weights_above(self, x: torch.Tensor, k: int, n: int) -> torch.Tensor:
        raise NotImplementedError


def test_each_layer_of_a_model_shows_whether_it_has_collapsed() -> None:
    """Means over all ID test images, of which the evidence keeps nothing but the means."""
    task = make(n_test=0)
    data, test = loaded(task)
    found = scored(type(task), task.observe(Layers(), data, test, []))
    white = test["id"]["x"].flatten(1).sum(1).mean().item()
    assert found.metrics["layer_kl@1"] == pytest.approx(2 * white) and found.metrics["layer_kl@2"] == pytest.approx(3 * white)
    assert len(found.evidence["layer_kl"]) == 2 and not [key for key in found.metrics if key.startswith("layer_kl[")]
    assert not [key for key in scored(type(task), task.observe(Whites(), data, test, [])).metrics if "layer_kl" in key]


def test_classifiers_do_not_fit() -> None:
    fitting = {method for of, method in compatible() if of == NAME}
    assert {"vae", "bottom-up-hvae", "hvae-llr", "likelihood", "input-complexity", "typicality", "likelihood-regret"} <= fitting
    assert not {"softmax", "msp", "energy"} & fitting
