"""MNIST row by row, a sequence of 28 binary vectors: samples, likelihood, the lower half given the upper one, and what drawing costs.

Pixels are binarised anew each time a training image is shown, once for validation and test images; splits are those of
``generation/mnist``. Samples and completions are draws, of all methods alike. At lite a run takes up to 150 s on one core: encoders of
sequences are twice the size of what draws them.

* ``fd`` (primary): Frechet distance of ``samples`` samples from the binarised test images, in features of a small classifier.
* ``nll[exact]``, or ``elbo`` of one draw of the codes: nats of ``n_bound`` test images. An exact value and a bound are never in one column.
* ``kl`` of all steps, and ``kl/first-half`` of those of the first half, of methods with codes for each step.
* ``completion_accuracy``: share of those images, of which the upper half was seen, whose completion the classifier takes for the digit that
  it was. ``completion_gain``: above the same upper halves with the lower half of a sample that does not know them.
* ``sampling_depth/tN``: operations that wait for each other while a sequence of N steps is drawn, of an untrained model with the same
  options; ``depth_growth[...]`` of the longest over the shortest ``lengths``. ``completion_growth``: the same of completing halves. Seconds
  are no metric, as they differ from run to run: ``tests/speed/sequences.py`` compares them.

The last epoch's weights are judged; options are chosen by the distance of 500 samples from validation images.

Evidence: the distance, which only running the method again checks; likelihoods and divergences in single precision, the mean divergence of
each step, which completions were right, and all depths.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.kinds.sequences import LatentSequence, SequenceCompleter
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.task import DataTask, images
from elboard.tasks.parts import features
from elboard.tasks.parts.depth import depth_of
from elboard.tasks.parts.images import binarise, digits_of, mean_of
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="sequences/mnist-rows",
    title="MNIST row by row",
    needs=("SequenceModel",),
    primary="fd",
    metrics=("fd", "nll", "elbo", "kl", "completion_accuracy", "completion_gain", "sampling_depth/t28", "depth_growth"),
    selection="fd[mnist-cnn,n=500]",
    data=("mnist",),
    papers=("060",),
    full="50,000 of the training images for 100 epochs; no paper's own setting",
    work={"lite": (10_000, 5000), "full": (50_000, 40_000)},
    examples={
        "smoke": {"fd": "50 samples", "*_growth": "one sequence", "sampling_*": "one sequence", "*": 40},
        "lite": {"fd": "2000 samples", "*_growth": "one sequence", "sampling_*": "one sequence", "*": 1000},
        "full": {"fd": "10,000 samples", "*_growth": "one sequence", "sampling_*": "one sequence", "*": 10_000},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 1, "batch_size": 50, "keep": "last"},
        "method": {"width": 16, "depth": 2},
        "task": {"n_train": 200, "n_valid": 60, "n_test": 60, "n_bound": 40, "samples": 50, "lengths": [7, 28]},
    },
    "lite": {"train": {"epochs": 6, "batch_size": 50, "keep": "last", "validate_every": 0}, "method": {"width": 64}},
    "full": {
        "train": {"epochs": 100, "batch_size": 100, "keep": "last", "validate_every": 50},
        "method": {"width": 256},
        "task": {"n_train": 50_000, "n_valid": 10_000, "n_test": 10_000, "n_bound": 10_000, "samples": 10_000},
    },
}
NETWORK, SELECT_N, BATCH = "mnist-cnn", 500, 500
OF_IMAGES = ("log_p", "kl", "kl_first")


class MNISTRows(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {
        "images": Examples(OF_IMAGES, ("elbo", "nll", "kl", "kl/*")),
        "completed": Examples(("completed", "unrelated"), ("completion_accuracy", "completion_gain")),
    }

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 10_000
        n_valid: Count = 2000
        n_test: Count = 2000
        n_bound: Count = 1000  # test images of likelihoods and completions
        samples: Count = 2000
        lengths: list[Count] = field(default_factory=lambda: [28, 196, 784])  # at which drawing is followed

    def rows(self, split: str, n: int) -> Batch:
        """Grey rows ``(n, 28, 28)`` in [0, 1], and digits ``(n,)``."""
        x, y = digits_of(split, n, self.config.n_valid, self.budget)
        return {"x": images(x)[:, 0], "y": torch.from_numpy(y)[:, 0].long()}

    def load_train(self) -> Data:
        c = self.config
        train, valid = ({"x": self.rows(split, n)["x"]} for split, n in (("train", c.n_train), ("valid", c.n_valid)))
        spec = LikelihoodSpec(tuple(train["x"].shape[1:]), len(train["x"]), likelihood="bernoulli")
        return Data(spec, train, binarise(valid, torch.Generator().manual_seed(0)), on_batch=binarise)

    def load_test(self, data: Data) -> Test:
        return binarise(self.rows("test", self.config.n_test), torch.Generator().manual_seed(1))

    def _each(self, function: Any, x: Tensor) -> Tensor:
        return torch.cat([function(part.to(self.device)).float().cpu() for part in x.split(BATCH)])

    def _moments(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the features of ``x`` (N, 28, 28)."""
        return moments_of(self._each(features.load(NETWORK, self.device)[2], x[:, None]).double().numpy())

    def _drawn(self, method: Any, n: int) -> Tensor:
        return self._each(lambda part: method.sample(len(part)), torch.arange(n))

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        fake = self._moments(self._drawn(method, SELECT_N))
        return {CARD.selection: frechet_distance(*self._moments(data.valid["x"]), *fake)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, (distance, network, _) = self.config, features.load(NETWORK, self.device)
        fake, x, y = self._drawn(method, c.samples), test["x"][: c.n_bound], test["y"][: c.n_bound]
        arrays = {
            f"{distance}[{network}]": np.array(frechet_distance(*self._moments(test["x"]), *self._moments(fake))),
            "samples": np.array(c.samples),
            "log_p": self._each(method.log_p, x).numpy(),
            "exact": np.array(method.exact),
        }
        if isinstance(method, LatentSequence):
            kl = self._each(method.divergences, x)
            arrays |= {"kl": kl.sum(1).numpy(), "kl_first": kl[:, : kl.shape[1] // 2].sum(1).numpy(), "kl_steps": kl.mean(0).numpy()}
        pictures = {"samples": grid(fake[:30, None], 10)}
        if isinstance(method, SequenceCompleter):
            completed = self._each(method.complete, x[:, : x.shape[1] // 2])
            arrays |= self._classified(method, completed, y)
            pictures["completions"] = grid(torch.stack([x[:10], completed[:10]], 0).flatten(0, 1)[:, None], min(10, len(x)))
        return Observed(arrays | self._depths(method), pictures)

    def _classified(self, method: Any, completed: Tensor, y: Tensor) -> dict[str, np.ndarray]:
        """Which completions (N, 28, 28) are of the digit ``y`` (N,), and which of their upper halves with another lower one."""
        _, logits = features.classifier(NETWORK, self.device)
        half = completed.shape[1] // 2
        other = torch.cat([completed[:, :half], self._drawn(method, len(completed))[:, half:]], 1)
        found = (("completed", completed), ("unrelated", other))
        return {name: (self._each(logits, of[:, None]).argmax(1) == y).numpy().astype(np.uint8) for name, of in found}

    def _depths(self, method: Any) -> dict[str, np.ndarray]:
        """Of drawing a sequence of each length, and of completing one of which half is seen."""
        lengths, d = self.config.lengths, method.spec.shape[1]
        models = [method.resized(length).eval() for length in lengths]
        arrays = {"lengths": np.array(lengths), "depth": np.array([depth_of(lambda of=of: of.sample(1)) for of in models])}
        if isinstance(method, SequenceCompleter):
            begun = [torch.zeros(1, max(1, length // 2), d, device=self.device) for length in lengths]
            of_each = zip(models, begun, strict=True)
            arrays["completion_depth"] = np.array([depth_of(lambda of=of, x=x: of.complete(x)) for of, x in of_each])
        return arrays

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        key = next(name for name in observed if name.startswith("fd["))
        log_p = mean_of(observed["log_p"])
        found = {f"{key[:-1]},n={int(observed['samples'])}]": float(observed[key])}
        found |= {"nll[exact]": -log_p} if observed["exact"] else {"elbo": log_p}
        found |= {of: mean_of(observed[name]) for of, name in (("kl", "kl"), ("kl/first-half", "kl_first")) if name in observed}
        if "completed" in observed:
            accuracy, unrelated = mean_of(observed["completed"]), mean_of(observed["unrelated"])
            network = key.partition("[")[2]
            found |= {f"completion_accuracy[{network}": accuracy, f"completion_gain[{network}": accuracy - unrelated}
        return found | _of_depths(observed)


def _of_depths(observed: Mapping[str, np.ndarray]) -> dict[str, float]:
    lengths = observed["lengths"].tolist()
    found = {f"sampling_depth/t{length}": float(depth) for length, depth in zip(lengths, observed["depth"], strict=True)}
    for metric, name in (("depth_growth", "depth"), ("completion_growth", "completion_depth")):
        if name in observed:
            found[f"{metric}[{lengths[0]}-{lengths[-1]}]"] = float(observed[name][-1] / observed[name][0])
    return found
