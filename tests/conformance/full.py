"""Every method as budget full runs it, on few examples: what is run there, cut down, and two processes that take a step together.

python full.py FOLDER TASK METHOD [...]     # in each of the processes, which the environment numbers; writes FOLDER/<rank>.json
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from elboard.bench import check
from elboard.bench.config import RunSpec, resolve
from elboard.bench.papers import papers
from elboard.bench.registry import compatible, discover, find

SIZES = {  # options of tasks that say how much data there is or how often something is drawn, and not what is built
    *("n", "k", "side", "n_train", "n_valid", "n_test", "n_track", "n_shift", "n_samples", "valid_samples", "samples", "nll_k", "nll_n"),
    *("held_out", "test_users", "item_clicks", "n_fit", "n_masks", "batches", "size", "n_full", "early", "contaminated", "runs"),
    *("n_labelled", "n_shown", "pairs", "steps", "repeats", "n_classes", "episodes", "queries"),
    *("draws", "length", "stride", "track_n", "reference", "n_bound", "given"),
}
RATES = {
    "lr",
    "lr_z",
    "weight_decay",
    "dropout",
    "draws",
    "resamples",
    "beta",
    "beta_warmup",
}  # options of methods that build nothing either
TOGETHER = 8  # examples of a batch of two processes: two steps of those of a light check, as unused parameters stop the second one only
NUMBERED = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")  # by which Lightning knows a process that others started


class Case(NamedTuple):
    """What is run at full: a task, a method, and the options that a paper gives it there (none: the method as it is, at home)."""

    task: str
    method: str
    set: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.method} on {self.task}" + "".join(f", {name}={value}" for name, value in self.set)


def cases() -> list[Case]:
    """Each method at home, each task with one method, and what the papers ask for at full, of the pairs that can run here; once for options
    that differ in lengths, sizes and rates alone, and for several tasks of a family with the same options once."""
    asked = [
        *(Case(entry.card.home, name) for name, entry in discover("method").items()),
        *(Case(*pair) for pair in sorted(check.thorough())),
    ]
    for entry in (entry for of in papers() if of.asked("full") for entry in of.runs("full")):
        built_of = ((name, json.dumps(value)) for name, value in entry["set"].items() if not name.startswith("train."))
        method = find("method", entry["methods"][0]).card.name
        asked.append(Case(entry["tasks"][0], method, tuple((name, json.loads(value)) for name, value in built_of)))
    first: dict[tuple[str, ...], Case] = {}
    pairs = set(compatible())
    for case in (case for case in asked if case[:2] in pairs):
        options = structure(case.task, case.method)
        building = [(name, value) for name, value in case.set if name.removeprefix("task.") not in (SIZES if "." in name else RATES)]
        first.setdefault((case.task.split("/")[0], case.method, repr(building), repr(sorted(options.items()))), case)
    return list(first.values())


@functools.cache
def structure(task: str, method: str) -> dict[str, Any]:
    """The options of ``task`` at full that decide what is built, where they are others than at smoke, and the network that it names, of
    ``method`` or of the run that it starts from."""
    at = {budget: resolve(task, next(method for of, method in compatible() if of == task), budget=budget) for budget in ("smoke", "full")}
    smoke, full = (at[budget].config["task"] for budget in ("smoke", "full"))
    own, budgets = discover("method")[method].config_class().__dataclass_fields__, discover("task")[task].budgets()
    smallest, named = (budgets[budget].get("method", {}) for budget in ("smoke", "full"))
    network = {name if name in own else f"base.{name}": value for name, value in named.items() if value != smallest.get(name)}
    return network | {f"task.{name}": value for name, value in full.items() if name not in SIZES and value != smoke[name]}


def specification(case: Case, **trainer: str) -> RunSpec:
    """The run of ``case`` on the data of smoke: networks, objective and options are those of full."""
    of_trainer = {f"trainer.{name}": value for name, value in trainer.items()}
    few = check.fewer(case.task)  # networks of full may draw one pixel after the other
    return check.specification(case.task, case.method, **few | structure(case.task, case.method) | dict(case.set) | of_trainer)


# --- two processes --------------------------------------------------------------------------------


def together(asked: list[Case], folder: Path) -> dict[str, list[str]]:
    """What each of two processes that train together says of each case: a hash of the weights, or an error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (folder / "cases.json").write_text(json.dumps([list(case) for case in asked]), encoding="utf-8")
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [subprocess.Popen([sys.executable, __file__, str(folder), rank], env=shared) for rank in ("0", "1")]
    try:
        for process in started:
            process.wait(timeout=900)
    except subprocess.TimeoutExpired:
        pass  # what was not reached says so
    finally:
        for process in started:
            process.kill()
    files = [folder / f"{rank}.json" for rank in (0, 1)]
    said = [json.loads(file.read_text(encoding="utf-8")) if file.exists() else {} for file in files]
    return {str(case): [of.get(str(case), "not reached") for of in said] for case in asked}


def _main(folder: Path, rank: int) -> None:
    """One of the two: the cases one after another, what was said so far kept."""
    said: dict[str, str] = {}
    for given in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        case = Case(given[0], given[1], tuple(map(tuple, given[2])))
        try:
            said[str(case)] = _weights(case, rank)
        except Exception as error:
            said[str(case)] = f"{type(error).__name__}: {error}"
        (folder / f"{rank}.json").write_text(json.dumps(said), encoding="utf-8")


def _weights(case: Case, rank: int) -> str:
    """A hash of the parameters of ``case`` after the steps of two processes."""
    from elboard.bench.task import Task

    for name in NUMBERED:
        os.environ.pop(name, None)
    for base in specification(case).starts_from():  # each by each process alone
        check.started_from(base)
    os.environ |= dict(zip(NUMBERED, (str(rank), "0", "2"), strict=True))  # anew: the end of a training takes some away
    own = find("task", case.task).load().batches is not Task.batches
    spec, digest = specification(case, devices="2", strategy="ddp"), hashlib.sha256()
    with check.stepped(spec, **({} if own else {"batch_size": TOGETHER})) as (_, _, method, _):
        for parameter in method.parameters():
            digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
