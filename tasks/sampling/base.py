"""Samples of one trained model by ways to draw them: what is compared is drawn from the same weights, and nothing is trained.

Classes are those of the test images, as many samples as these. For each setting (evaluations of the network, weight of guidance):

* ``fd``: Frechet distance from the test images in features of the classifier of ``conditional/*``; the number of samples is in its key.
* ``control_accuracy``: share of samples that this classifier takes for what was asked for.
* ``diversity``: variance of samples of equal classes over that of such test images.

Evidence: the distances, hits (0 or 1 for each sample and setting) and pooled variances, with the numbers of the settings; distances need
the features themselves: only running the method again checks them. The picture has a row of ten classes for each setting.

Selection: the distance of 500 samples from validation images at one setting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.conditional import AttributeSpec
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.task import DataTask, halved, images
from elboard.tasks.parts import features
from elboard.tasks.parts.images import digits_of
from elboard.tasks.parts.moments import moments_of, variance_within
from elboard.tasks.parts.pictures import grid

BATCH, SELECT_N = 500, 500
CLASSIFIER = "mnist-cnn"
Setting = tuple[int, float]


class Sampling(DataTask):
    """A subclass says at which settings samples are drawn, and what they are called."""

    sets: ClassVar[Sets] = {"samples": Examples(arrays=("hits",), metrics=("control_accuracy*", "guidance_trend*"))}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 20_000
        n_valid: Count = 2000
        n_test: Count = 1000

    def settings(self) -> list[Setting]:
        """Evaluations and guidance of each setting."""
        raise NotImplementedError

    def chosen(self) -> Setting:
        """The setting by which options are chosen."""
        raise NotImplementedError

    def load_train(self) -> Data:
        """What the sampled model was trained on, as on ``conditional/mnist14``; nothing is learned from it here."""
        c = self.config
        train, valid = (self._digits(split, n) for split, n in (("train", c.n_train), ("valid", c.n_valid)))
        spec = AttributeSpec(tuple(train["x"].shape[1:]), c.n_train, likelihood="discretised-logistic", attributes=(10,))
        return Data(spec, train, valid)

    def load_test(self, data: Data) -> Test:
        return self._digits("test", self.config.n_test)

    def _digits(self, split: str, n: int) -> Batch:
        x, y = digits_of(split, n, self.config.n_valid, self.budget)
        return {"x": images(halved(x)), "y": torch.from_numpy(y)}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            fake = self._drawn(method, data.valid["y"][:SELECT_N], *self.chosen())
        moments = [moments_of(self._seen(x)[0]) for x in (data.valid["x"], fake)]
        return {self.card.selection: frechet_distance(*moments[0], *moments[1])}

    def _drawn(self, method: Any, y: Tensor, evaluations: int, guidance: float) -> Tensor:
        """Samples for ``y``; of 0 evaluations, as many of the reference as the task's option says."""
        parts = (part.to(self.device) for part in y.split(BATCH))
        if not evaluations:
            return torch.cat([method.reference(part, self.config.reference).cpu() for part in parts]).clamp(0, 1)
        return torch.cat([method.draw(part, evaluations, guidance).cpu() for part in parts]).clamp(0, 1)

    def _seen(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, D) and the classes (n,) that the classifier tells."""
        of, logits = features.load(CLASSIFIER, self.device)[2], features.classifier(CLASSIFIER, self.device)[1]
        parts = [part.to(self.device) for part in x.split(BATCH)]
        return (
            torch.cat([of(part) for part in parts]).double().cpu().numpy(),
            torch.cat([logits(part).argmax(1) for part in parts]).cpu().numpy(),
        )

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        distance, network, _ = features.load(CLASSIFIER, self.device)
        y, real = test["y"], moments_of(self._seen(test["x"])[0])
        distances, hits, variances, rows = [], [], [], []
        for setting in self.settings():
            fake = self._drawn(method, y, *setting)
            of, told = self._seen(fake)
            distances.append(frechet_distance(*real, *moments_of(of)))
            hits.append(told == y[:, 0].numpy())
            variances.append(variance_within(fake, y))
            rows.append(fake[[int((y[:, 0] == k).nonzero()[0, 0]) for k in range(10) if (y == k).any()]])
        arrays = {
            f"{distance}[{network}": np.array(distances),
            "samples": np.array(len(y)),
            "hits": np.stack(hits, 1).astype(np.uint8),
            "variance": np.array(variances),
            "real_variance": variance_within(test["x"], y),
            "evaluations": np.array([e for e, _ in self.settings()]),
            "guidance": np.array([w for _, w in self.settings()]),
        }
        return Observed(arrays, {"samples": grid(torch.cat(rows), len(rows[0]))})

    @classmethod
    def named(cls, evaluations: int, guidance: float) -> str:
        """The slice of a setting."""
        raise NotImplementedError

    @classmethod
    def derived(cls, found: dict[str, float], observed: Mapping[str, np.ndarray], parameters: str) -> dict[str, float]:
        """What follows from several settings."""
        raise NotImplementedError

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        key = next(name for name in observed if name.startswith("fd["))
        network, n = key.partition("[")[2], int(observed["samples"])
        accuracy = observed["hits"].mean(0, dtype=np.float64)
        diversity = observed["variance"] / observed["real_variance"]
        found = {}
        for i, (e, w) in enumerate(zip(observed["evaluations"].tolist(), observed["guidance"].tolist(), strict=True)):
            slice_ = cls.named(e, w)
            found[f"fd[{network},n={n}]/{slice_}"] = float(observed[key][i])
            found[f"control_accuracy[{network}]/{slice_}"] = float(accuracy[i])
            found[f"diversity/{slice_}"] = float(diversity[i])
        return found | cls.derived(found, observed, f"[{network},n={n}]")
