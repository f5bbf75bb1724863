"""Omniglot in episodes: five characters that training has not seen, of which one or five drawings each are known.

Protocol, as of Vinyals et al. 2016 and Snell, Swersky and Zemel 2017 but for the sizes:

* Classes are the 242 characters of :mod:`elboard.tasks.generation.omniglot`, 20 drawings each, ink 1 on 0. A permutation that belongs to
  the task gives 60 of them to the test, 40 to validation and 142 to training. Of the latter the first ``n_classes`` are trained on: few of
  them are few tasks (Yao, Zhang and Finn 2022). Beyond 142 come the same ones turned by 90, 180 and 270 degrees.
* A training episode has 5 classes, ``shot`` drawings of each to know and ``queries`` others to classify; ``train.batch_size`` of them are a
  batch, ``episodes`` an epoch, which ends with a whole batch.
* Test episodes have 5 classes with 5 + 15 drawings each, the same ones for all methods: ``accuracy/shot1`` with the first drawing of each
  known, ``accuracy/shot5`` with five, of the same queries. Both are of the one network, which is trained with ``shot`` drawings.
* Epochs and options are chosen by ``accuracy/shot1`` of episodes of the validation classes, which never change either.

lite: 14 x 14 means of 2 x 2 pixels, 12 classes. Smoke: digits turned by quarters, a class for each digit and turn.

Evidence: of each episode how many queries are right (``right_shot1``, uint8) and their mean NLL (``nll_shot1``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from elboard.bench.batches import Batch, OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.fewshot import EpisodeSpec
from elboard.bench.metrics.calibration import FLOOR
from elboard.bench.metrics.fewshot import episode_interval
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import omniglot
from elboard.tasks.data.task import DataTask, images, permutation, upsampled_digits

CARD = TaskCard(
    name="fewshot/omniglot",
    title="Omniglot in episodes of 5 unseen characters, trained on few",
    needs=("FewShot",),
    primary="accuracy/shot1",
    metrics=("accuracy/shot1", "accuracy/shot5", "class_nll/shot1", "class_nll/shot5", "episode_interval/shot1"),
    selection="accuracy/shot1",
    data=("omniglot",),
    papers=("011",),
    full="the 50,000 steps of Sun et al. 2023 on 12 classes and 28 x 28 pixels; their classes are photographs of miniImagenet",
    work={"lite": (12_000, 108_000), "full": (32_000, 108_000)},
    examples={"smoke": {"*": "20 episodes"}, "lite": {"*": "600 episodes"}, "full": {"*": "600 episodes"}},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 2, "keep": "best"},
        "task": {"n_classes": 8, "episodes": 4, "queries": 5, "n_valid": 5, "n_test": 20},
    },
    "lite": {"train": {"epochs": 10, "batch_size": 4, "keep": "best"}},
    "full": {"train": {"epochs": 500, "batch_size": 4, "validate_every": 5, "keep": "best"}, "task": {"shrink": 1, "queries": 15}},
}
WAY, SHOTS, QUERIES = 5, (1, 5), 15  # of test episodes
DRAWINGS = 20  # of a class
CHUNK = 20  # episodes a forward pass


def draw_episodes(n: int, classes: int, images_of: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """``n`` episodes: their classes, ``(n, WAY)`` of ``classes``, and of each class drawings, ``(n, WAY, images_of)``; none twice."""
    of = torch.rand(n, classes, generator=generator).argsort(1)[:, :WAY]
    return of, torch.rand(n, WAY, DRAWINGS, generator=generator).argsort(2)[:, :, :images_of]


class Episodes(OwnBatches):
    """Batches of ``size`` episodes of ``x`` (classes, drawings, ...), ``spec`` says of what each is made; ``episodes`` an epoch, or what
    more it takes to fill the last batch."""

    def __init__(self, x: Tensor, spec: EpisodeSpec, episodes: int, size: int, seed: int):
        super().__init__(seed, math.ceil(episodes / size))
        self.x, self.spec, self.size = x, spec, size

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        shot = self.spec.shot
        of, drawings = draw_episodes(self.size, len(self.x), shot + self.spec.queries, generator)
        x = self.x[of[:, :, None], drawings]
        return {"support": x[:, :, :shot], "query": x[:, :, shot:]}


class FewShotOmniglot(DataTask):
    """See the module."""

    sets: ClassVar[Sets] = {"episodes": Examples(("right_*", "nll_*"), ("accuracy/*", "class_nll/*", "episode_interval/*"))}

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_classes: Annotated[int, Range(5)] = 12  # that are trained on; 12 are those of miniImagenet-S
        shot: Annotated[int, Range(1, 5)] = 1  # images of each class in training episodes, as queries
        queries: Annotated[int, Range(1, 15)] = 5
        episodes: Count = 400  # of an epoch
        shrink: Annotated[int, Range(1, 4)] = 2  # pixels of a side whose mean one is
        n_valid: Count = 100  # episodes
        n_test: Count = 600  # episodes

    def _classes(self, part: str) -> Tensor:
        """Drawings ``(classes, 20, 1, H, W)`` of the classes of "train" (those that are upright), "valid" or "test"."""
        x = turned_digits() if self.budget == "smoke" else omniglot()
        order, test, valid = permutation(len(x), 1), len(x) // 4, len(x) // 6
        of = {"test": order[:test], "valid": order[test : test + valid], "train": order[test + valid :]}[part]
        return F.avg_pool2d(images(x[of].reshape(-1, 28, 28)), self.config.shrink).unflatten(0, (len(of), DRAWINGS))

    def load_train(self) -> Data:
        """Raises UserError where there are not so many classes."""
        c, upright = self.config, self._classes("train")
        if c.n_classes > 4 * len(upright):
            raise UserError(f"task.n_classes={c.n_classes}: {self.card.name} has {4 * len(upright)} at most at {self.budget}")
        turns = torch.cat([torch.rot90(upright, turn, (3, 4)) for turn in range(math.ceil(c.n_classes / len(upright)))])
        train = turns[: c.n_classes].clone()
        made = {"n_classes": c.n_classes, "way": WAY, "shot": c.shot, "queries": c.queries}
        spec = EpisodeSpec(tuple(train.shape[2:]), c.episodes * WAY * (c.shot + c.queries), **made)
        return Data(spec, {"x": train}, {"x": self._classes("valid")})

    def load_test(self, data: Data) -> Test:
        return {"x": self._classes("test")}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> Episodes:
        episodes = self.config.episodes
        return Episodes(data.train["x"], data.spec, episodes, train["batch_size"] or episodes, seed)

    def _log_p(self, method: Any, x: Tensor, n: int, seed: int, shot: int) -> Iterator[Tensor]:
        """Log-probabilities of the right class of the queries of ``n`` episodes of the classes ``x``, and whether it is the most
        probable, stacked: ``(2, episodes of a part, WAY * QUERIES)``."""
        generator = Generator().manual_seed(seed)
        of, drawings = draw_episodes(n, len(x), SHOTS[-1] + QUERIES, generator)
        order = torch.rand(n, WAY * QUERIES, generator=generator).argsort(1)  # what is asked for says nothing of its class
        for at in torch.arange(n).split(CHUNK):
            chosen, y = x[of[at, :, None], drawings[at]], order[at] // QUERIES
            query = chosen[:, :, SHOTS[-1] :].flatten(1, 2)[torch.arange(len(at))[:, None], order[at]]
            log_p = method.class_log_probabilities(chosen[:, :, :shot].to(self.device), query.to(self.device)).double().cpu()
            yield torch.stack([log_p.gather(2, y[..., None])[..., 0], log_p.argmax(2) == y])

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        log_p, hit = torch.cat([*self._log_p(method, data.valid["x"], self.config.n_valid, 2, SHOTS[0])], dim=1)
        return {"accuracy/shot1": hit.mean().item(), "class_nll/shot1": -log_p.clamp(min=math.log(FLOOR)).mean().item()}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        seen: dict[str, np.ndarray] = {"asked": np.array(WAY * QUERIES)}
        for shot in SHOTS:
            log_p, hit = torch.cat([*self._log_p(method, test["x"], self.config.n_test, 3, shot)], dim=1)
            seen[f"right_shot{shot}"] = hit.sum(1).to(torch.uint8).numpy()
            seen[f"nll_shot{shot}"] = -log_p.clamp(min=math.log(FLOOR)).mean(1).float().numpy()
        return Observed(seen)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        found: dict[str, float] = {}
        for shot in SHOTS:
            accuracies = observed[f"right_shot{shot}"] / float(observed["asked"])
            found[f"accuracy/shot{shot}"] = float(accuracies.mean())
            found[f"class_nll/shot{shot}"] = float(observed[f"nll_shot{shot}"].astype(np.float64).mean())
            found[f"episode_interval/shot{shot}"] = episode_interval(accuracies)
        return found


def turned_digits() -> np.ndarray:
    """The smoke budget's ``(40, 20, 28, 28)``: of each of ten digits four times 20 others, turned by 0, 90, 180 and 270 degrees."""
    x, y = upsampled_digits()
    by_class = np.stack([x[y == digit][: 4 * DRAWINGS].reshape(4, DRAWINGS, 28, 28) for digit in range(10)])
    return np.concatenate([np.rot90(by_class[:, turn], turn, (2, 3)) for turn in range(4)])
