"""Top-K recommendation under strong generalisation (Liang, Krishnan, Hoffman and Jebara 2018, section 4).

Ratings of at least 4 are clicks; users with fewer than five clicks are left out. Users are split into training, validation and test users
by the run's seed. Splits are nested: test users are drawn from a pool that belongs to the task, twice as large, and validation users from
the others, so that whatever is chosen on validation users, with whatever seed, is chosen without a test user of any seed. Methods see the
full click rows of training users. Of a held-out user 80 % of the clicks are history (fold-in) and 20 % targets, drawn by the seed. Items
are those that ``item_clicks`` training users clicked, one or more; other clicks of held-out users are dropped, and a held-out user left
without history or without target does not count. Batches carry ``index``, the number of each training user.

Scores of the history's items are masked by the task. Recall@K divides by min(K, targets); NDCG@K truncates the ideal at K.

Evidence: each test user's list of items ``top`` (U, K), its targets as packed bits ``targets`` (U, ceil(I / 8)), and the number of
items. Lists and targets give recall and NDCG at any K up to the lists' length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from elboard.bench.evidence import Examples, Sets
from elboard.bench.metrics.conventions import parse
from elboard.bench.metrics.ranking import per_user, top_items
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data, DataSpec, Observed, Test
from elboard.tasks.data.task import DataTask, permutation

BATCH = 500
POOL = 2  # times as many users as are tested are those that test users are drawn from
TARGETS = 5  # one click of five is a target
RANKED = ("recall", "ndcg")  # metrics of each user, at some K
LONGEST = 100  # items on a list
REPORTED = ("recall@20", "recall@50", "ndcg@100", "item_coverage@100")


def positive_clicks(data: dict[str, np.ndarray], threshold: float = 4.0, at_least: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Users and items, renumbered from 0, of the ratings that count as clicks, by users with at least ``at_least`` of them."""
    kept = data["rating"] >= threshold
    user, item = data["user"][kept], data["item"][kept]
    _, index, counts = np.unique(user, return_inverse=True, return_counts=True)
    active = counts[index] >= at_least
    return np.unique(user[active], return_inverse=True)[1], np.unique(item[active], return_inverse=True)[1]


def generated_clicks(users: int = 240, items: int = 80, groups: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Clicks with group structure for the smoke budget: a user likes the items of one group, and popular ones."""
    rng = np.random.default_rng(0)
    group, kind = rng.integers(groups, size=users), rng.integers(groups, size=items)
    chance = 0.03 + 0.3 / (1 + np.arange(items)) + 0.35 * (group[:, None] == kind)
    return np.nonzero(rng.random((users, items)) < chance)


def split_row(clicks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """History and targets of one held-out user's clicked items: ``floor(0.2 n)`` targets, at least one."""
    shuffled = rng.permutation(clicks)
    targets = max(1, len(clicks) // TARGETS)
    return shuffled[targets:], shuffled[:targets]


class Recommendation(DataTask):
    """The family's protocol; a subclass gives the clicks."""

    sets: ClassVar[Sets] = {
        "users": Examples(arrays=("top", "targets", "recall@*", "ndcg@*"), metrics=("recall@*", "ndcg@*", "item_coverage@*"))
    }
    # Evidence without targets holds the metrics of each user in single precision: over 20 runs the means differed by 8e-9 at most.
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = dict.fromkeys(RANKED, (1e-7, 0.0))

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        held_out: Count = 100  # validation users
        test_users: Count = 200
        item_clicks: Count = 1  # of training users, that an item needs

    def clicks(self) -> tuple[np.ndarray, np.ndarray]:
        """User and item of each click, numbered from 0."""
        raise NotImplementedError

    def _rows(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Clicks ``(U, I)``, bool, of training, validation and test users."""
        user, item = generated_clicks() if self.budget == "smoke" else self.clicks()
        matrix = np.zeros((user.max() + 1, item.max() + 1), dtype=bool)
        matrix[user, item] = True
        pool, others = np.split(permutation(len(matrix), 0), [POOL * self.config.test_users])
        test, untested = np.split(rng.permutation(pool), [self.config.test_users])
        valid, train = np.split(rng.permutation(others), [self.config.held_out])
        return matrix[np.concatenate([train, untested])], matrix[valid], matrix[test]

    def _known(self, train: np.ndarray) -> np.ndarray:
        """Which items training users clicked, bool ``(I,)``."""
        return train.sum(axis=0) >= self.config.item_clicks

    def load_train(self) -> Data:
        rng = np.random.default_rng(self.seed)
        train, valid, _ = self._rows(rng)
        known = self._known(train)
        x = torch.from_numpy(train[:, known]).float()
        return Data(DataSpec((x.shape[1],), len(x)), {"x": x, "index": torch.arange(len(x))}, self._fold_in(valid, known, rng))

    def load_test(self, data: Data) -> Test:
        train, _, test = self._rows(np.random.default_rng(self.seed))
        return self._fold_in(test, self._known(train), np.random.default_rng([self.seed, 1]))

    def _fold_in(self, rows: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> Batch:
        """History and targets among the ``known`` items, of those of ``rows`` that have both."""
        history, targets = np.zeros_like(rows), np.zeros_like(rows)
        for u, row in enumerate(rows):
            clicked = np.flatnonzero(row)
            if len(clicked) > 1:
                kept, wanted = split_row(clicked, rng)
                history[u, kept], targets[u, wanted] = True, True
        history, targets = history[:, known], targets[:, known]
        used = history.any(axis=1) & targets.any(axis=1)
        return {"history": torch.from_numpy(history[used]), "targets": torch.from_numpy(targets[used])}

    def _rank(self, method: Any, part: Batch) -> dict[str, np.ndarray]:
        def scores(history: Tensor) -> Tensor:
            return method.scores(history.float().to(self.device)).float().cpu()

        scored = torch.cat([scores(history) for history in part["history"].split(BATCH)])
        targets = part["targets"].numpy()
        top = top_items(scored.numpy(), part["history"].numpy(), min(LONGEST, targets.shape[1]))
        return {"top": top, "targets": np.packbits(targets, axis=1), "n_items": np.array(targets.shape[1])}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return self.score(self._rank(method, data.valid), ("ndcg@100", "recall@20"))

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self._rank(method, test))

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        top, keys = observed["top"], {name: parse(name) for name in (REPORTED if asked is None else asked)}
        of_users = [name for name, key in keys.items() if name in observed and key.name in RANKED]
        found = {name: float(observed[name].mean(dtype=np.float64)) for name in of_users}
        if "targets" in observed:
            n_items = int(observed["n_items"])
            if -(-n_items // 8) != observed["targets"].shape[1]:
                raise ValueError(f"targets of {observed['targets'].shape[1]} bytes a user do not hold {n_items} items")
            targets = np.unpackbits(observed["targets"], axis=1, count=n_items)
            known = [key for key in keys.values() if key.at and (int(key.at) <= top.shape[1] or top.shape[1] == n_items)]
            recall, ndcg, coverage = ([int(key.at) for key in known if key.name == of] for of in (*RANKED, "item_coverage"))
            found |= {name: float(values.mean()) for name, values in per_user(top, targets, recall, ndcg).items()}
            if "kept_users" not in observed:  # fewer users have fewer items on their lists: no estimate of what all have
                found |= {f"item_coverage@{k}": len(np.unique(top[:, :k])) / n_items for k in coverage}
        return found

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        top = observed["top"]
        return {**observed, "top": top.astype(np.uint16) if top.max() < 2**16 else top}
