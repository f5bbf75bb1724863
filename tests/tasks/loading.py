"""A task's data and its test data, as a run reads them one after the other."""

from __future__ import annotations

from elboard.bench.task import Data, Task, Test


def loaded(task: Task) -> tuple[Data, Test]:
    data = task.load_train()
    return data, task.load_test(data)
