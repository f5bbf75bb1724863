"""Nested splits: where the seed splits the data, no test example of any seed is one by which something is chosen with another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from elboard.bench.config import resolve
from elboard.bench.registry import compatible, discover
from elboard.bench.run import seed_everything

SEEDS = range(20)
METHODS = dict(reversed(compatible()))
TASKS = discover("task")
LAWS = {
    "PosteriorSampler",
    "NoisyDescent",
    "DropoutDiffusion",
    "VariationalCurves",
    "FlowSolver",
    "ExactBound",
    "TwoTeachers",
    "RankedMaps",
    "MaskedBound",
    "TabularMixture",
}  # tested is a law or training: no examples
ANEW = {"mi/gaussian", "tokens/dependent"}  # whose pairs or sequences are drawn from laws that are known


def examples(batch: Mapping[str, torch.Tensor]) -> set[bytes]:
    """What tells examples apart, whichever part they are in: all clicks of a user, a pair of nodes, pixels, or what is decoded of them."""
    if "history" in batch:
        rows = batch["history"].bool() | batch["targets"].bool()
    elif "pairs" in batch:
        rows = batch["pairs"].sort(dim=1).values
    elif "row" in batch:  # of a table, of which each seed standardises the inputs otherwise
        rows = batch["row"][:, None]
    elif "m1" in batch:  # modalities, of which the first is in all
        rows = batch["m1"]
    elif "anomalous" in batch:
        rows = torch.cat([batch["normal"], batch["anomalous"]])
    else:
        rows = next((of["x"] for of in (batch, batch.get("id", {})) if "x" in of), batch.get("y", torch.zeros(0, 1)))
    flat = (rows[:, None] if rows.ndim == 1 else rows.flatten(1)).numpy()
    binary = flat.dtype != np.int64 and np.isin(flat, (0, 1)).all()
    return {row.tobytes() for row in np.ascontiguousarray(flat.astype(bool) if binary else flat)}


def split(name: str, seed: int) -> tuple[set[bytes], set[bytes], set[bytes]]:
    """Training, validation and test examples at smoke; the edges of a training graph are training examples."""
    task, spec = TASKS[name].load(), resolve(name, METHODS[name], budget="smoke", seed=seed)
    seed_everything(seed)
    made = task(task.Config(**spec.config["task"]), "smoke", seed)
    data = made.load_train()
    train = {"pairs": data.shared["edges"]} if "edges" in data.shared else data.train
    return examples(train), examples(data.valid), examples(made.load_test(data))


@pytest.mark.parametrize("name", [name for name, entry in TASKS.items() if name not in ANEW and not LAWS & {*entry.card.needs}])
def test_what_chooses_with_one_seed_is_tested_with_none(name: str) -> None:
    train, valid, test = ([*part] for part in zip(*(split(name, seed) for seed in SEEDS), strict=True))
    assert all(train) and all(valid) and all(test)
    follows = any(len({frozenset(part) for part in parts}) > 1 for parts in (valid, test))
    assert follows == (TASKS[name].card.varies != "seed"), "the card says what the seed varies"
    if follows:
        assert not set().union(*valid) & set().union(*test)
        assert all(not set(a) & set(b) for a, b in zip(train, test, strict=True))
        assert len({frozenset(part) for part in test}) == len(SEEDS), "what else could have been tested is in the interval"


def test_some_splits_follow_the_seed() -> None:
    assert {entry.card.family for entry in TASKS.values() if entry.card.varies != "seed"} >= {"links", "recommendation"}
