"""The recommendation tasks: clicks, splits by users, fold-in, ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.evidence import scored
from elboard.bench.registry import find
from elboard.tasks.data import loaders
from elboard.tasks.data.fetch import available
from elboard.tasks.recommendation import ml_100k
from elboard.tasks.recommendation.base import generated_clicks, positive_clicks, split_row

NAME = "recommendation/ml-100k"


def make(budget: str = "smoke", seed: int = 0, name: str = NAME, **options: object):
    entry = find("task", name)
    cls = entry.load()
    return cls(cls.Config(**{**entry.budgets()[budget].get("task", {}), **options}), budget, seed)


class Fixed:
    """A recommender that knows the scores of each history."""

    def __init__(self, history: torch.Tensor, scores: torch.Tensor):
        self.known = {row.numpy().tobytes(): score for row, score in zip(history.float(), scores, strict=True)}

    def scores(self, history: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.known[row.numpy().tobytes()] for row in history])


def ratings(rows: list[tuple[int, int, float]]) -> dict[str, np.ndarray]:
    user, item, rating = zip(*rows, strict=True)
    return {"user": np.array(user), "item": np.array(item), "rating": np.array(rating)}


def test_clicks_are_high_ratings_of_users_with_five_of_them() -> None:
    rows = [(7, i, 4.0) for i in (10, 20, 30, 40, 50)]  # five clicks: in
    rows += [(8, i, 5.0) for i in (10, 20, 30, 60)] + [(8, 70, 3.0)]  # four and a low rating: out, and item 60 with this user
    rows += [(9, i, 4.5) for i in (10, 20, 30, 40, 80)] + [(9, 90, 3.5)]
    user, item = positive_clicks(ratings(rows))
    assert user.tolist() == [0] * 5 + [1] * 5
    assert item.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 5]  # 10, 20, 30, 40, 50, 80 renumbered
    assert set(positive_clicks(ratings(rows), at_least=4)[0]) == {0, 1, 2}


def test_fold_in_of_one_user() -> None:
    rng = np.random.default_rng(0)
    for n in range(2, 60):
        clicked = np.arange(100, 100 + n)
        history, targets = split_row(clicked, rng)
        assert sorted([*history, *targets]) == clicked.tolist() and len(history) >= 1
        assert len(targets) == max(1, n // 5)


def test_every_click_is_as_likely_to_be_a_target() -> None:
    rng = np.random.default_rng(0)
    counts = np.zeros(11)
    for _ in range(4000):
        counts[split_row(np.arange(11), rng)[1]] += 1
    assert np.abs(counts / 4000 - 2 / 11).max() < 5 * (2 / 11 * 9 / 11 / 4000) ** 0.5


def as_sets(rows: torch.Tensor) -> list[frozenset[int]]:
    return [frozenset(np.flatnonzero(row)) for row in rows.numpy()]


def distinct_clicks(users: int = 60, items: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """No two users have a click set that contains the other's; items 38 and 39 belong to one user each."""
    rng = np.random.default_rng(3)
    matrix = rng.random((users, items)) < 0.4
    matrix[:, 38:] = False
    matrix[0, 38] = matrix[1, 39] = True
    return np.nonzero(matrix)


@pytest.mark.parametrize("seed", range(6))
def test_held_out_users_and_items(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are in one part alone; items are those that a training user clicked; nothing else is lost."""
    user, item = distinct_clicks()
    monkeypatch.setattr(ml_100k.ML100K, "clicks", lambda self: (user, item))
    task = make("lite", seed, held_out=15, test_users=12)
    data, test = loaded(task)
    everyone = [frozenset(item[user == u]) for u in range(60)]
    nested = np.random.default_rng(0).permutation(60)
    rng = np.random.default_rng(seed)
    pool, others = rng.permutation(nested[:24]), rng.permutation(nested[24:])
    parts = {"valid": others[:15], "test": pool[:12], "train": np.concatenate([others[15:], pool[12:]])}
    kept = sorted(frozenset.union(*(everyone[u] for u in parts["train"])))
    assert data.spec.shape == (len(kept),) and data.spec.n_train == 33 and data.train["x"].shape == (33, len(kept))
    assert (data.train["x"].sum(0) > 0).all()
    rows = {
        "train": data.train["x"] > 0,
        **{name: part["history"] | part["targets"] for name, part in (("valid", data.valid), ("test", test))},
    }
    for name, users in parts.items():
        expected = [frozenset(kept.index(i) for i in everyone[u] & set(kept)) for u in users]
        assert as_sets(rows[name]) == expected, name


@pytest.mark.parametrize("budget", ["smoke", "lite"])
def test_history_and_targets(budget: str) -> None:
    if budget == "lite" and not available("ml-100k"):
        pytest.skip("MovieLens 100K is not here; `elboard data fetch ml-100k` gets it")
    data, test = loaded(make(budget))
    for part in (data.valid, test):
        history, targets = part["history"], part["targets"]
        assert history.dtype == targets.dtype == torch.bool and history.shape == targets.shape == (len(history), *data.spec.shape)
        assert not (history & targets).any() and history.any(1).all() and targets.any(1).all()
        n = (history | targets).sum(1)
        assert abs((targets.sum(1) / n).mean() - 0.2) < 0.05, "a fifth of the clicks, less where an item is unknown"
    assert data.train["x"].dtype == torch.float32 and set(data.train["x"].unique().tolist()) == {0.0, 1.0}


def test_movielens_has_the_users_of_the_rule() -> None:
    if not available("ml-100k"):
        pytest.skip("MovieLens 100K is not here; `elboard data fetch ml-100k` gets it")
    user, item = make("lite").clicks()
    assert len(np.unique(user)) == 938 and np.bincount(user).min() >= 5 and len(user) == 55_361 and len(np.unique(item)) == 1447
    assert len(make("lite").load_train().train["x"]) == 938 - 300


@pytest.mark.parametrize("least", [1, 10, 15])
def test_items_are_those_that_training_users_clicked(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    user, item = distinct_clicks()
    monkeypatch.setattr(ml_100k.ML100K, "clicks", lambda self: (user, item))
    data, test = loaded(make("lite", 3, held_out=15, test_users=12, item_clicks=least))
    everything, _ = loaded(make("lite", 3, held_out=15, test_users=12))
    kept = everything.train["x"].sum(0) >= least
    assert torch.equal(data.train["x"], everything.train["x"][:, kept]) and test["history"].shape[1] == data.spec.shape[0] == kept.sum()
    assert (data.train["x"].sum(0) >= least).all() and kept.all() == (least == 1)


def test_rows_of_training_users_are_numbered() -> None:
    data = make().load_train()
    assert data.train["index"].tolist() == list(range(data.spec.n_train))


def test_movielens_small_has_the_users_of_the_rule() -> None:
    if not available("movielens-small"):
        pytest.skip("MovieLens small is not here; `elboard data fetch movielens-small` gets it")
    task = make("lite", name="recommendation/movielens-small")
    user, item = task.clicks()
    assert len(np.unique(user)) == 659 and np.bincount(user).min() >= 5 and len(user) == 51_535 and len(np.unique(item)) == 6169
    x = task.load_train().train["x"]
    assert len(x) == 659 - 200 and x.sum(0).min() >= 5 and 1600 < x.shape[1] < 1900


@pytest.mark.parametrize(("name", "loader", "users"), [("ml-1m", "ml_1m", 2600), ("ml-20m", "ml_20m", 400)])
def test_the_large_ones_are_prepared_as_mult_vae_did(name: str, loader: str, users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On made ratings of the same columns; of 20M the numbers of held-out users are checked on the card and in the budget alone."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((users + 1, 40)) < 0.6)
    item[user == 0] = 0  # of the first user all ratings but one are no clicks
    made = {
        "user": 10 * user + 7,
        "item": 3 * item,
        "rating": np.where(user == 0, 3.5, rng.choice([3.0, 4.0, 5.0], len(user), p=[0.2, 0.4, 0.4])),
    }
    monkeypatch.setattr(loaders, loader, lambda: made)
    sizes = {"held_out": 50, "test_users": 60} if name == "ml-20m" else {}
    task = make("full", 1, f"recommendation/{name}", **sizes)
    assert "lite" not in find("task", task.card.name).budgets()
    data, test = loaded(task)
    clicked = np.bincount(made["user"][made["rating"] >= 4])
    expected = int((clicked >= 5).sum())
    of = task.config
    assert expected == len(np.unique(task.clicks()[0])) < users + 1
    assert data.spec.n_train == expected - of.held_out - of.test_users
    assert len(data.valid["history"]) == of.held_out and len(test["history"]) == of.test_users
    counted = {"ml-1m": (6034, 600), "ml-20m": (136_677, 10_000)}[name]
    full = find("task", task.card.name).budgets()["full"]["task"]
    assert (full["held_out"], full["test_users"]) == (counted[1], counted[1])
    assert task.card.work == {"full": (counted[0] - 2 * counted[1], counted[1])}


def test_of_equal_counts_the_item_with_the_lower_index_comes_first() -> None:
    """Popularity scores many items alike: the order among them is the task's, and the same everywhere."""
    task, scores = make(), torch.tensor([2.0, 5.0, 2.0, 5.0, 5.0, 0.0])

    class Popular:
        def scores(self, history: torch.Tensor) -> torch.Tensor:
            return scores.expand(len(history), -1)

    history = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1]], dtype=torch.bool)
    top = task._rank(Popular(), {"history": history, "targets": ~history})["top"]
    assert top[0].tolist() == [1, 3, 4, 0, 2, 5] and top[1, :4].tolist() == [3, 4, 0, 2]


def test_the_split_is_that_of_the_seed() -> None:
    (a, test_a), (b, test_b), (c, _) = loaded(make(seed=0)), loaded(make(seed=0)), loaded(make(seed=1))
    torch.manual_seed(3)
    assert all(torch.equal(test_a[name], test_b[name]) and torch.equal(a.valid[name], b.valid[name]) for name in test_a)
    assert torch.equal(a.train["x"], b.train["x"]) and not torch.equal(a.train["x"], c.train["x"])


def test_users_who_cannot_be_split_do_not_count() -> None:
    task = make()
    rows = np.zeros((4, 6), dtype=bool)
    rows[0, :2] = rows[2, :5] = True
    rows[1, 0] = True  # a single click: no history or no target
    part = task._fold_in(rows, np.ones(6, dtype=bool), np.random.default_rng(0))
    assert as_sets(part["history"] | part["targets"]) == [frozenset((0, 1)), frozenset(range(5))]
    assert part["targets"].sum(1).tolist() == [1, 1]
    nothing_known = task._fold_in(rows, np.arange(6) == 5, np.random.default_rng(0))
    assert len(nothing_known["history"]) == 0


def test_a_perfect_scorer_a_blind_one_and_a_repeater() -> None:
    task = make()
    data, test = loaded(task)
    history, targets = test["history"], test["targets"].float()
    perfect = task.score(task.observe(Fixed(history, targets), data, test, []).arrays)
    assert {perfect[name] for name in ("ndcg@100", "recall@20", "recall@50")} == {1.0}
    # the highest scores are on the history, which the task masks: no worse than perfect
    repeater = task.score(task.observe(Fixed(history, targets + 9 * history.float()), data, test, []).arrays)
    assert repeater == perfect
    worst = task.score(task.observe(Fixed(history, -targets), data, test, []).arrays)
    assert worst["recall@20"] < 0.1 and worst["ndcg@100"] < perfect["ndcg@100"]


def test_evidence_holds_each_user_and_the_lists() -> None:
    task = make()
    data, test = loaded(task)
    history, targets = test["history"], test["targets"].numpy()
    scores = torch.rand(history.shape, generator=torch.Generator().manual_seed(0))
    found = scored(task, task.observe(Fixed(history, scores), data, test, []))
    metrics, evidence = found.metrics, found.evidence
    users = len(history)
    assert evidence["top"].dtype == np.uint16 and evidence["top"].shape == (users, min(100, history.shape[1]))
    recalls, ndcgs = [], []
    for u in range(users):
        ranked = [i for i in np.argsort(-scores[u].numpy(), kind="stable") if not history[u, i]]
        assert evidence["top"][u, : len(ranked)].tolist() == ranked[:100]
        hits = targets[u, ranked[:20]].sum()
        recalls.append(hits / min(20, targets[u].sum()))
        gains = sum(1 / np.log2(rank + 2) for rank, i in enumerate(ranked[:100]) if targets[u, i])
        ideal = sum(1 / np.log2(rank + 2) for rank in range(targets[u].sum()))
        ndcgs.append(gains / ideal)
    assert metrics["recall@20"] == pytest.approx(np.mean(recalls)) and metrics["ndcg@100"] == pytest.approx(np.mean(ndcgs))


def test_validation_uses_validation_users() -> None:
    task = make()
    data = task.load_train()
    known = Fixed(data.valid["history"], data.valid["targets"].float())  # a test user's history would be a KeyError
    assert task.validate(known, data) == {"ndcg@100": 1.0, "recall@20": 1.0}


def test_generated_clicks_have_structure_and_enough_users() -> None:
    user, item = generated_clicks()
    assert user.max() + 1 == 240 and item.max() + 1 == 80 and np.bincount(user).min() >= 2
    again = generated_clicks()
    assert (user == again[0]).all() and (item == again[1]).all()
