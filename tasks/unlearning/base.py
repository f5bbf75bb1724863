"""What the unlearning tasks share: what is to be forgotten, the judge, the distance from the retrained model.

A model was trained on D = D_r u D_f. Without D_f (batches say which examples are of it, ``forget``) it would be another: the model trained
on D_r from the start. A method is to come as near to that as it can, by every measure that tells them apart:

    accuracy on D_r, on D_f by the given labels, on test images; success of a membership attack on D_f

``retrain_gap`` is the mean absolute difference of these from the retrained model of the same seed, which each method brings along
(:class:`elboard.bench.kinds.unlearning.Unlearner`): an oracle on this board, with the gap 0. Options are chosen by the same gap with
validation images in the place of test images, and epochs where ``train.keep`` is "best": the budgets keep the last one. Who unlearns in
earnest has no such reference, so this is one more thing that all methods are given alike.

The attack (:func:`elboard.bench.metrics.unlearning.membership`) learns from sorted probabilities of D_r against those of test images, of
classes that are not forgotten, ``n_attack`` of either evenly spaced; its success is the share of D_f that it takes for training images. 0.5
is no target: the retrained model's value is.

What unlearning costs is ``train_s`` of a record, without the runs that it starts from; beside it that of ``retrain``.

Evidence: confusion matrices and the attack's verdicts, of the method and of the retrained model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.batches import Batch
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.unlearning import ForgetSpec
from elboard.bench.metrics.unlearning import confusion, gaps, membership, values
from elboard.bench.options import Count, Natural
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DataTask, labelled, permutation, stand_in

CLASSES = 10
CHUNK = 500  # images a forward pass


class Forgetting(DataTask):
    """The family's protocol on MNIST; a subclass says what is to be forgotten.

    Attributes:
        forgotten: classes of which all training images are to be forgotten.
    """

    forgotten: tuple[int, ...] = ()
    sets: ClassVar[Sets] = {
        "forget": Examples(arrays=("attacked", "retrained_attacked"), metrics=("attack_success", "retrain_gap", "retrain_gap/attack"))
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Natural = 10_000  # 0: all that validation leaves
        n_valid: Count = 1000
        n_test: Natural = 0  # 0: all
        n_attack: Count = 2000  # images of either side that the attack learns from, at most

    def __init__(self, config: Any, budget: str, seed: int):
        super().__init__(config, budget, seed)
        self._reference: tuple[int, int, dict[str, np.ndarray]] | None = None  # what validations saw of the retrained model

    def given(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels ``(N,)`` that training images of the classes ``y`` (N,) are given, and which of them are to be forgotten."""
        raise NotImplementedError

    def _read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return stand_in(split) if self.budget == "smoke" else mnist(split)

    def load_train(self) -> Data:
        """A fixed random part of the training images; validation labels are right."""
        c, (x, y) = self.config, self._read("train")
        order = permutation(len(y), 27)
        held, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train or None]
        labels, forget = self.given(y[kept])
        train = {**labelled(x, y, kept), "y": torch.from_numpy(labels), "forget": torch.from_numpy(forget)}
        spec = ForgetSpec((1, 28, 28), len(kept), n_classes=CLASSES, n_forget=int(forget.sum()))
        return Data(spec, train, labelled(x, y, held))

    def load_test(self, data: Data) -> Test:
        x, y = self._read("test")
        return labelled(x, y, slice(self.config.n_test or None))

    def probabilities(self, method: Any, x: Tensor) -> np.ndarray:
        """``(N, C)``."""
        return torch.cat([method.predict(part.to(self.device)).mean(0).cpu() for part in x.split(CHUNK)]).numpy()

    def seen(self, method: Any, train: Batch, held: Batch) -> dict[str, np.ndarray]:
        """What :func:`elboard.bench.metrics.unlearning.values` takes, of training images and of others ``held`` out."""
        p, other = self.probabilities(method, train["x"]), self.probabilities(method, held["x"])
        y, classes, forget = train["y"].numpy(), held["y"].numpy(), train["forget"].numpy()
        few, others = np.flatnonzero(~forget), np.flatnonzero(~np.isin(classes, self.forgotten))
        few, others = (of[:: -(-len(of) // self.config.n_attack)] for of in (few, others))
        return {
            "remaining": confusion(y[~forget], p[~forget].argmax(1), CLASSES),
            "forget": confusion(y[forget], p[forget].argmax(1), CLASSES),
            "held": confusion(classes, other.argmax(1), CLASSES),
            "attacked": membership(p[few], other[others], p[forget]),
        }

    def both(self, method: Any, train: Batch, held: Batch) -> dict[str, np.ndarray]:
        """:meth:`seen` of ``method`` and, as ``retrained_*``, of the retrained model, once for all epochs; and the classes."""
        own, reference = self.seen(method, train, held), method.retrained
        if reference is not method and (self._reference is None or self._reference[:2] != (id(held), id(reference))):
            self._reference = id(held), id(reference), self.seen(reference.to(self.device).eval(), train, held)
        other = own if reference is method else self._reference[2]
        classes = np.isin(np.arange(CLASSES), self.forgotten)
        return {**own, **{f"retrained_{name}": value for name, value in other.items()}, "forgotten": classes}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        """As the test, with as many training images as there are validation images, beside those that are to be forgotten."""
        forget = data.train["forget"]
        few = torch.cat([forget.nonzero()[:, 0], (~forget).nonzero()[: len(data.valid["y"]), 0]])
        train = {name: value[few] for name, value in data.train.items()}
        found = self.measure(self.both(method, train, data.valid), None)
        return {name.replace("/test", "/valid"): value for name, value in found.items() if not name.startswith("retrain_gap/")}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self.both(method, data.train, test))

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        retrained = {name.removeprefix("retrained_"): value for name, value in observed.items() if name.startswith("retrained_")}
        found, target = (values(seen, observed["forgotten"]) for seen in (observed, retrained))
        return found | gaps(found, target)

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Nothing is rounded: counts in fewer bytes."""
        return {name: value.astype(np.int32) if value.dtype.kind in "iu" else value for name, value in observed.items()}
