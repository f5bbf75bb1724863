"""Each configuration that a paper's file names can be built and trained, not its method's defaults alone."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from elboard.bench.config import resolve
from elboard.bench.cost import flops_per_example
from elboard.bench.papers import Side, papers
from elboard.bench.registry import discover
from elboard.bench.run import Loaded, build


def configurations() -> list:
    """Task, method and options of each once, of those that are here and start from nothing; by task, whose data are read once a worker."""
    found = {}
    for paper in papers():
        for task, side in (pair for budget in ("lite", "full") for pair in paper.asked(budget)):
            method = discover("method").get(side.method)
            if method is None or task not in discover("task") or method.card.bases or not own(side):
                continue
            found[(task, side.method, json.dumps(own(side), sort_keys=True))] = None
    return [pytest.param(*key, marks=pytest.mark.xdist_group(key[0])) for key in sorted(found)]


def own(side: Side) -> dict[str, Any]:
    """The method's options; data and length are those of smoke."""
    return {name: value for name, value in side.set.items() if "." not in name}


@functools.cache
def data_of(task: str, options: str) -> Any:
    found = discover("task")[task].load()
    loaded = found(found.Config(**json.loads(options)), "smoke", 0)
    return loaded.load_train()


@pytest.mark.parametrize(("task", "method", "options"), configurations())
def test_every_configuration_of_a_paper_has_a_loss_with_gradients(task: str, method: str, options: str) -> None:
    spec = resolve(task, method, budget="smoke", overrides=json.loads(options))
    data = data_of(task, json.dumps(spec.config["task"]))
    loaded: Loaded = build(spec, data=data)
    batch = next(iter(loaded.task.batches(data, spec.config["train"], spec.seed)))
    operations = flops_per_example(loaded.method, batch)
    assert operations is None or operations > 0 or data.oracle is not None, "of a density, which may hold no products of matrices"
