"""What tasks of domains share: images of several domains, of which the sources have labels, and what a code keeps of the domain.

Protocol, common to the family:

* All domains are views of MNIST on 14 x 14 pixels (means of 2 x 2), each of images of its own. A batch holds as many images of each domain.
* Sources have labels. Of the targets no label is seen, by ``y`` = -1; their training images are in the batches with ``unlabelled=true``,
  as the paper's theory asks for (Ruan, Dubois and Maddison 2022), and not without it, as in DomainBed. The option is part of a record.
* Epochs are not chosen, and options are by the accuracy on validation images of the sources: DomainBed's training-domain validation
  (Gulrajani and Lopez-Paz 2021).
* ``accuracy`` and ``class_nll`` of test images by domain (``/d0`` for the first), and of it the mean over the sources (``/source``), over
  the targets (``/target``), and the worst of the targets (``/worst``).
* ``domain_accuracy``: that of a vote of the 15 nearest codes about the domain, sources and targets alike, of one half of the test images
  among codes of the other half. Codes are divided by the standard deviation of each dimension. ``domain_gap``: what is above chance, as
  a share of what could be. Nothing is learned for it.

The test images of all domains are views of the same ones, so that domains differ in nothing else; a half is one of images, and no
neighbour is the same digit turned.

Evidence: ``hit`` (N, D) and ``nll`` (N, D) of each image in each domain, and ``told`` (M, D), the domain that the vote says.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.domains import DomainSpec
from elboard.bench.metrics.calibration import FLOOR
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, Observed, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DIGITS_TRAIN, DataTask, permutation, stand_in

BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 16, "keep": "last"}, "task": {"n_train": 96, "n_valid": 40, "n_test": 80}},
    "lite": {"train": {"epochs": 30, "batch_size": 32, "keep": "last", "validate_every": 5}},
    "full": {
        "train": {"epochs": 100, "batch_size": 32, "keep": "last", "validate_every": 10},
        "task": {"n_train": 10_000, "n_valid": 1500, "n_test": 10_000},
    },
}
NEIGHBOURS = 15
CHUNK = 500  # images a forward pass, codes a table of distances
LABELS = {"train": 11, "valid": 12, "test": 13}  # seeds of what a view draws


def by_domain(batch: Batch, generator: Generator) -> Batch:
    """Rows with an image of each domain to a batch of all of these images."""
    return {name: value.flatten(0, 1) for name, value in batch.items()}


class Domains(DataTask):
    """A subclass gives the domains and what an image and its class are in each."""

    sets: ClassVar[Sets] = {
        "images": Examples(("hit", "nll"), ("accuracy", "accuracy/*", "class_nll", "class_nll/*")),
        "votes": Examples(("told",), ("domain_accuracy", "domain_gap")),
    }
    sources: ClassVar[int]  # the first ones
    targets: ClassVar[int]
    n_classes: ClassVar[int] = 10

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        unlabelled: bool = True  # whether training images of the targets are shown, without labels
        n_train: Count = 1500  # images of each domain
        n_valid: Count = 300  # of each source
        n_test: Count = 1000  # of all domains

    @abstractmethod
    def view(self, x: Tensor, y: Tensor, domain: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images ``(N, 28, 28)`` in [0, 1] and digits ``(N,)`` to images ``(N, C, 14, 14)`` and classes ``(N,)`` of ``domain``."""

    def _source(self, split: str) -> tuple[Tensor, Tensor]:
        """Images ``(N, 28, 28)`` and digits; at smoke digits scaled up."""
        x, y = stand_in(split) if self.budget == "smoke" else mnist(split)
        return torch.from_numpy(x).float() / 255, torch.from_numpy(y).long()

    def _views(self, of: list[Tensor], split: str, domains: int) -> Batch:
        """Of the positions ``of`` for each domain, tensors with a row for each position and a column for each domain."""
        x, y = self._source("test" if split == "test" else "train")
        seen = [self.view(x[at], y[at], d, Generator().manual_seed(LABELS[split] + 100 * d)) for d, at in enumerate(of[:domains])]
        images, classes = (torch.stack(each, dim=1) for each in zip(*seen, strict=True))
        return {"x": images, "y": classes, "domain": torch.arange(domains).expand(len(images), -1).clone()}

    def load_train(self) -> Data:
        c, domains = self.config, self.sources + (self.targets if self.config.unlabelled else 0)
        order = torch.from_numpy(permutation(DIGITS_TRAIN if self.budget == "smoke" else 60_000, 1))
        most = self.sources + self.targets
        few = order[: self.sources * c.n_valid].chunk(self.sources)
        rest = order[self.sources * c.n_valid :][: most * c.n_train]
        train = self._views(list(rest.chunk(most)), "train", domains)
        train["y"][:, self.sources :] = -1
        valid = {name: value.flatten(0, 1) for name, value in self._views(list(few), "valid", self.sources).items()}
        n, shape = len(train["y"]), tuple(train["x"].shape[2:])
        spec = DomainSpec(shape, n * domains, n_classes=self.n_classes, domains=domains, sources=self.sources)
        return Data(spec, train, valid, on_batch=by_domain)

    def load_test(self, data: Data) -> Test:
        total = 397 if self.budget == "smoke" else 10_000
        at = torch.arange(total)[:: max(1, total // self.config.n_test)][: self.config.n_test]
        return self._views([at] * (self.sources + self.targets), "test", self.sources + self.targets)

    def _of(self, method: Any, x: Tensor, name: str) -> Tensor:
        return torch.cat([getattr(method, name)(part.to(self.device)).float().cpu() for part in x.split(CHUNK)])

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        p, y = self._of(method, data.valid["x"], "probabilities"), data.valid["y"]
        nll = -p.gather(1, y[:, None]).clamp(min=FLOOR).log().mean()
        return {"accuracy/source": (p.argmax(1) == y).float().mean().item(), "class_nll/source": nll.item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        columns = zip(test["x"].unbind(1), test["y"].unbind(1), strict=True)
        hits, nlls, codes = [], [], []
        for x, y in columns:
            p = self._of(method, x, "probabilities")
            hits.append(p.argmax(1) == y)
            nlls.append(-p.gather(1, y[:, None])[:, 0].double().clamp(min=FLOOR).log())
            codes.append(self._of(method, x, "codes"))
        told = told_domains(torch.stack(codes)).T
        arrays = {"hit": torch.stack(hits, 1).to(torch.uint8), "nll": torch.stack(nlls, 1).float(), "told": told.to(torch.uint8)}
        return Observed({name: value.numpy() for name, value in arrays.items()} | {"sources": np.array(self.sources)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        sources, told = int(observed["sources"]), observed["told"]
        found, worst = {}, {"accuracy": np.min, "class_nll": np.max}
        for name, of in (("accuracy", observed["hit"]), ("class_nll", observed["nll"])):
            means = of.astype(np.float64).mean(0)
            found |= {f"{name}/d{d}": float(value) for d, value in enumerate(means)}
            parts = {"source": means[:sources].mean(), "target": means[sources:].mean(), "worst": worst[name](means[sources:])}
            found |= {f"{name}/{part}": float(value) for part, value in parts.items()}
        right, chance = float((told == np.arange(told.shape[1])).mean()), 1 / told.shape[1]
        return found | {"domain_accuracy": right, "domain_gap": max(0.0, (right - chance) / (1 - chance))}


def told_domains(codes: Tensor) -> Tensor:
    """The domains ``(D, M)`` that a vote of the nearest codes says of the second half of ``codes`` (D, N, Z), among those of the first."""
    domains, half = len(codes), codes.shape[1] // 2
    scaled = codes.double() / codes.double().flatten(0, 1).std(0).clamp(min=1e-12)
    known, asked = scaled[:, :half].flatten(0, 1), scaled[:, half:].flatten(0, 1)
    of = torch.arange(domains).repeat_interleave(half)
    votes = []
    for part in asked.split(CHUNK):
        nearest = torch.cdist(part, known).topk(min(NEIGHBOURS, len(known)), largest=False).indices
        votes.append(F.one_hot(of[nearest], domains).sum(1).argmax(1))
    return torch.cat(votes).unflatten(0, (domains, -1))
