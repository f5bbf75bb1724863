"""Encoders of Fashion-MNIST from two views of each image: what their features are worth, and what their uncertainty says.

Protocol:

* Each training batch shows two views of each image, ``x`` and ``view`` (:func:`elboard.tasks.parts.augmentation.view_of`). All methods
  have the same views, backbone and number of epochs, and the last epoch is kept. Batches hold the classes too, for the supervised
  reference alone. How much crops leave, how strong the noise is and where the backbone is normalised was chosen by probes of held-out
  training images, in eight trials of one seed; at lite these stay within a point of a probe of the pixels themselves, so that the length
  of training, not only the objective, bounds what encoders reach there.
* Probes are learned on features of ``n_labelled`` training images without augmentation: ``probe_accuracy`` by logistic regression,
  ``knn_accuracy`` by the 20 nearest. The first one of validation images is what options are chosen by.
* ``embedding_std`` of the embeddings of test images: near 0 for a network that gives every image the same.
* Of methods that are uncertain (``UncertainViews``): ``quantile_accuracy/q1`` to ``q5``, the probe's accuracy in fifths of the test
  images, unchanged, from the least certain to the most, with ``quantile_gap`` and ``quantile_trend``. ``view_spearman``: over
  ``n_shown`` test images, of the uncertainty of a view with the squared difference of what it predicts of another one and what that is,
  both as means over ``pairs`` pairs of views; ``/single`` of the first pair.
* The same images blurred by Gaussian kernels and covered by black squares at random places, neither of which training shows, at the
  strengths of ``BLURS`` (standard deviation in pixels) and ``SQUARES`` (side in pixels) after 0: ``uncertainty/blur1`` to ``blur4``
  and ``occlusion1`` to ``occlusion4``, ``uncertainty_trend`` over the five, and ``uncertainty_rise`` of the last.

Evidence: of each test image whether the probe (``hit``) and its neighbours (``knn_hit``) are right, and its uncertainty; uncertainty and
difference of views; means of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.kinds.selfsup import UncertainViews
from elboard.bench.metrics.dynamics import spearman
from elboard.bench.metrics.selfsup import accuracy_by_certainty, embedding_std, linear_probe, nearest_classes, rise, trend
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import fashion_mnist
from elboard.tasks.data.task import DataTask, labelled, permutation, stand_in
from elboard.tasks.parts.augmentation import two_views, view_of

CARD = TaskCard(
    name="selfsup/fashion-mnist",
    title="Encoders from two views of each image, Fashion-MNIST",
    needs=("ViewEncoder",),
    primary="probe_accuracy",
    metrics=("probe_accuracy", "knn_accuracy", "quantile_gap", "quantile_trend", "view_spearman", "embedding_std"),
    selection="probe_accuracy",
    data=("fashion-mnist",),
    papers=("022", "029"),
    full="55,000 training images for 100 epochs and all test images; no paper's own setting",
    work={"lite": (6000, 48_000), "full": (55_000, 95_000)},
    examples={
        "smoke": {"view_spearman": "100 test images", "uncertainty*": "100 test images", "*": 200},
        "lite": {"view_spearman": "1,000 test images", "uncertainty*": "1,000 test images", "*": 5000},
        "full": {"view_spearman": "2,000 test images", "uncertainty*": "2,000 test images", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 100},
        "task": {"n_train": 600, "n_valid": 100, "n_test": 200, "n_labelled": 200, "n_shown": 100, "pairs": 2},
    },
    "lite": {"train": {"epochs": 10, "batch_size": 100, "validate_every": 5}},
    "full": {
        "train": {"epochs": 100, "batch_size": 256, "validate_every": 10},
        "task": {"n_train": 55_000, "n_valid": 5000, "n_test": 10_000, "n_shown": 2000},
    },
}
BLURS, SQUARES = (0.75, 1.5, 3.0, 6.0), (7, 12, 17, 22)
CHUNK = 500  # images a forward pass


class ViewsFashionMNIST(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {
        "test": Examples(("hit", "knn_hit", "test_uncertainty"), ("probe_accuracy", "knn_accuracy", "quantile_*")),
        "shown": Examples(("view_*",), ("view_spearman", "view_spearman/*")),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 6000
        n_valid: Count = 1000
        n_test: Count = 5000  # the first test images
        n_labelled: Count = 1000  # training images whose classes the probes see
        n_shown: Count = 1000  # the first of the test images, which are shown in views, blurred and covered
        pairs: Count = 8  # of views of each of them

    def _source(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return stand_in(split) if self.budget == "smoke" else fashion_mnist(split)

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), 1)
        held_out, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train]
        spec = ClassSpec((1, *x.shape[1:]), len(kept), n_classes=10)
        return Data(spec, labelled(x, y, kept), labelled(x, y, held_out), on_batch=two_views)

    def load_test(self, data: Data) -> Test:
        return labelled(*self._source("test"), np.s_[: self.config.n_test])

    def over(self, of: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
        """``of`` images, in parts, on the CPU."""
        return torch.cat([of(part.to(self.device)).cpu() for part in x.split(CHUNK)]).numpy()

    def labelled(self, method: Any, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Features and classes of the training images that probes are learned on."""
        few = {name: value[: self.config.n_labelled].cpu() for name, value in data.train.items()}
        return self.over(method.represent, few["x"]), few["y"].numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        known, y = self.labelled(method, data)
        p = linear_probe(known, y, self.over(method.represent, data.valid["x"]), data.spec.n_classes)
        spread = embedding_std(self.over(method.target, data.valid["x"]))
        return {"probe_accuracy": float((p.argmax(1) == data.valid["y"].numpy()).mean()), "embedding_std": spread}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x, y = test["x"], test["y"].numpy()
        known, classes = self.labelled(method, data)
        features = self.over(method.represent, x)
        seen = {
            "hit": linear_probe(known, classes, features, data.spec.n_classes).argmax(1) == y,
            "knn_hit": nearest_classes(known, classes, features) == y,
            "embedding_std": np.array(embedding_std(self.over(method.target, x))),
        }
        if isinstance(method, UncertainViews):
            shown = x[: self.config.n_shown]
            seen["test_uncertainty"] = self.over(method.uncertainty, x)
            seen |= self._views(method, shown)
            for name, changed in (("blur", blurred(shown)), ("occlusion", covered(shown))):
                each = [seen["test_uncertainty"][: len(shown)], *(self.over(method.uncertainty, of) for of in changed)]
                seen |= {f"means_{name}": np.stack(each).astype(np.float64).mean(1), f"rise_{name}": np.array(rise(each[0], each[-1]))}
        return Observed(seen)

    def _views(self, method: Any, x: Tensor) -> dict[str, np.ndarray]:
        """Uncertainty and squared difference of pairs of views, of the first pair and as means."""
        generator, found = torch.Generator().manual_seed(0), []
        for _ in range(self.config.pairs):
            to, of = view_of(x, generator), view_of(x, generator)
            difference = np.square(self.over(method.target, to) - self.over(method.predicted, of)).mean(1)
            found.append((self.over(method.uncertainty, of), difference))
        uncertainty, difference = (np.stack(each) for each in zip(*found, strict=True))
        single = {"view_uncertainty_single": uncertainty[0], "view_difference_single": difference[0]}
        return {"view_uncertainty": uncertainty.mean(0), "view_difference": difference.mean(0), **single}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        hit = observed["hit"]
        found = {"probe_accuracy": float(hit.mean()), "knn_accuracy": float(observed["knn_hit"].mean())}
        found["embedding_std"] = float(observed["embedding_std"])
        if "test_uncertainty" not in observed:
            return found
        fifths = accuracy_by_certainty(hit, observed["test_uncertainty"])
        found |= {f"quantile_accuracy/q{i}": float(value) for i, value in enumerate(fifths, 1)}
        found |= {"quantile_gap": float(fifths[-1] - fifths[0]), "quantile_trend": trend(fifths)}
        for of, end in (("", ""), ("/single", "_single")):
            found[f"view_spearman{of}"] = spearman(observed[f"view_uncertainty{end}"], observed[f"view_difference{end}"])
        for name in ("blur", "occlusion"):
            means = observed[f"means_{name}"]
            found |= {f"uncertainty/{name}{i}": float(value) for i, value in enumerate(means[1:], 1)}
            found |= {f"uncertainty_trend/{name}": trend(means), f"uncertainty_rise/{name}": float(observed[f"rise_{name}"])}
        return found | {"uncertainty": float(means[0])}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**observed, **{name: observed[name].astype(np.uint8) for name in ("hit", "knn_hit")}}


def blurred(x: Tensor) -> list[Tensor]:
    """Images ``(N, C, H, W)`` under Gaussian kernels of each deviation of ``BLURS``, cut at three of them; zeros from outside."""
    found = []
    for deviation in BLURS:
        reach = int(np.ceil(3 * deviation))
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
        flat = torch.nn.functional.conv2d(x.flatten(0, 1)[:, None], kernel, padding=(0, reach))
        found.append(torch.nn.functional.conv2d(flat, kernel.mT, padding=(reach, 0)).view(x.shape))
    return found


def covered(x: Tensor) -> list[Tensor]:
    """Images ``(N, C, H, W)`` with a black square of each side of ``SQUARES``, around a centre of its own, which is the same for all
    sides as far as the border allows."""
    generator, found = torch.Generator().manual_seed(0), []
    centre = torch.rand(2, len(x), 1, generator=generator)
    for side in SQUARES:
        inside = []
        for share, length in zip(centre, x.shape[2:], strict=True):
            first = (share * length - side / 2).round().clamp(0, max(0, length - side))
            inside.append((torch.arange(length) >= first) & (torch.arange(length) < first + side))
        found.append(x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0))
    return found
