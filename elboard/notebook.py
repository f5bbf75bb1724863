"""What the commands do, for notebooks and scripts: runs, sweeps, trained methods, and records and leaderboards as data frames.

    record = elboard.run("generation/digits", "vae", latent_dim=8, train={"epochs": 3})
    method = elboard.load_method(record)
    elboard.leaderboard("generation/digits", metrics=["nll"])

Mistakes raise UserError. Data frames are those of pandas, which `pip install 'elboard[notebook]'` brings.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.config import BUDGETS, resolve, restated
from elboard.bench.errors import RunFailed, UserError, check_known, command
from elboard.bench.folders import existing, places
from elboard.bench.identity import UNSAID, changed, flatten
from elboard.bench.journal import check_tracker
from elboard.bench.record import Record, attempts, effective
from elboard.bench.registry import discover, find
from elboard.bench.run import load_trained, root_folder
from elboard.bench.runs import folder_named

if TYPE_CHECKING:
    import pandas

    from elboard.bench.method import Method

Given = str | Path | Iterable[str | Path]


def run(
    task: str,
    method: str,
    *,
    seed: int = 0,
    budget: str = "lite",
    recipe: str = "",
    tracker: str = "none",
    out: str | Path | None = None,
    force: bool = False,
    path: Given = (),
    progress: bool = True,
    **options: Any,
) -> Record:
    """Run a method on a task, and what it starts from; a run that is done is not run again. Returns its record.

    Args:
        recipe: options that the method's card names, beneath those given.
        tracker: none, csv or wandb.
        out: folder of runs, ``ELBOARD_HOME`` or ``runs`` if absent.
        force: run again what is done.
        path: folders or files with methods and tasks outside the package.
        options: of the method by their names; of another section as a mapping, ``train={"epochs": 3}``, or ``**{"train.epochs": 3}``.

    Raises:
        UserError: as the command line would refuse it.
        RunFailed: the run has failed; its record is the exception's ``record``.
    """
    from elboard.sweeps.engines.local import run_all

    check_tracker(tracker)
    known = _paths(path)
    chosen = find("method", method, known).card.recipe(recipe) if recipe else {}
    spec = resolve(
        task, method, seed=seed, budget=budget, overrides={**chosen, **flatten(options)}, origin="run", paths=tuple(map(str, known))
    )
    runs = [spec] if force else [*spec.starts_from(), spec]
    with _undisturbed(), _told(len(runs), progress) as watch:
        *_, outcome = run_all(runs, root_folder(out), tracker=tracker, force=force, watch=watch)
    if outcome.record is None or outcome.state == "failed":
        key = outcome.record.key if outcome.record else spec.key
        more = f"; its log: {command('logs', key, out=out)}"
        raise RunFailed(f"{method} on {task}, seed {seed}: {outcome.message}{more}", outcome.record)
    return outcome.record


def sweep(
    source: str | Path | Mapping[str, Any],
    *,
    budget: str = "",
    jobs: int | None = None,
    tracker: str = "none",
    out: str | Path | None = None,
    force: bool = False,
    path: Given = (),
    progress: bool = True,
    **options: Any,
) -> list[Record]:
    """Run all runs of a sweep on this machine, of a YAML file, a name of `elboard list sweeps`, or such a file's content as a mapping.

    ``jobs`` worker processes, one for each core if absent. Returns the records of its runs, without the trials of searches; those of failed
    runs have the status ``failed``. A script that calls it does so under ``if __name__ == "__main__":``, as its workers read the script.
    ``options`` win over the file's; they and the rest are as of :func:`run`.
    """
    from elboard.sweeps import named
    from elboard.sweeps.engines import find as find_engine
    from elboard.sweeps.plan import expand, plan_of

    check_tracker(tracker)
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs={jobs}: at least 1")
    known = _paths(path)
    source = source if isinstance(source, Mapping) else named.find(str(source), budget, paths=known)
    expanded = expand(source, flatten(options), tuple(map(str, known)))
    plan = plan_of(expanded, root_folder(out), tracker)
    plan.save()
    with _undisturbed(), _told(expanded.size, progress) as watch:
        outcomes = find_engine("local").run(plan, {"jobs": jobs}, force, watch)
    return [outcome.record for outcome in outcomes if outcome.record and "trial" not in outcome.spec.origin]


def load_method(key: str | Record, *, out: str | Path | None = None, path: Given = ()) -> Method:
    """The trained method of a finished run, by its record, its key or the beginning of that, with its final weights in evaluation mode.

    Raises UserError where there is no such run, or not its weights: records that ship with the package have none.
    """
    root, known = _folder(out), _paths(path)
    folder = folder_named(root, key.key if isinstance(key, Record) else key)
    done = effective(record for record in attempts(folder) if record.status == "done")
    if done is None:
        raise UserError(f"{folder}: no finished run")
    with _undisturbed():
        return load_trained(restated(done.run(), known), root)


def leaderboard(
    which: str = "",
    *,
    metrics: str | Iterable[str] = (),
    methods: str | Iterable[str] = (),
    budget: str = "",
    sort: str = "",
    shipped: bool = True,
    out: str | Path | None = None,
    path: Given = (),
) -> pandas.DataFrame:
    """The leaderboards of a task, a family of tasks or all: a row for each cell, as of `elboard leaderboard --format csv`.

    ``metrics``: keys or names, those of the task's card if absent, "all" for every one. ``methods``: patterns such as "mult-*".
    ``sort``: the metric that orders and ranks, the task's primary one if absent. ``shipped``: with the records that ship with the package.
    """
    from elboard.bench.cli.printing import check_scope
    from elboard.results.board.build import Choice, read_boards
    from elboard.results.board.render import flat

    frame, known = _pandas().DataFrame, _paths(path)
    root = _folder(out)
    check_scope(which, known)
    choice = Choice(metrics=_words(metrics), budget=budget, methods=_words(methods), sort=sort, rank_all=True)
    choice.check()
    return frame(flat(read_boards(root, shipped, which, known, choice)[1]))


def records(
    task: str = "*",
    method: str = "*",
    *,
    budget: str = "",
    status: str = "done",
    shipped: bool = True,
    out: str | Path | None = None,
    path: Given = (),
) -> pandas.DataFrame:
    """A row for each run of tasks and methods that match the patterns, by its newest record: what it is, ``option.*`` that differ from the
    defaults, ``metric.*``, ``cost.*``; ``status`` "failed" for those that failed, "" for both."""
    from elboard.results.places import effective as counted

    frame, methods = _pandas().DataFrame, discover("method", _paths(path))
    check_known("budget", budget, ("", *BUDGETS))
    check_known("status", status, ("", "done", "failed"))
    wanted = {"budget": budget, "status": status}
    rows = []
    for record in (place.record for place in counted(_folder(out), shipped).values()):
        said = {name: record.spec[name] for name in ("task", "task_version", "method", "method_version", "budget", "seed")}
        row = {"key": record.key, **said, "status": record.status, "primary": record.primary, "ended": record.ended}
        if fnmatchcase(row["task"], task) and fnmatchcase(row["method"], method) and all(row[n] == w for n, w in wanted.items() if w):
            options = {name: value for name, value in changed(record.identity, methods).items() if name not in UNSAID}
            parts = {"option": options, "metric": record.metrics, "cost": record.cost}
            why = {"failure": record.failure["message"]} if record.failure else {}
            rows.append(row | why | {f"{part}.{name}": value for part, of in parts.items() for name, value in of.items()})
    return frame(sorted(rows, key=lambda row: (row["task"], row["method"], row["budget"], row["seed"], row["key"])))


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise UserError("data frames need pandas: pip install 'elboard[notebook]'") from None
    return pandas


def _words(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _folder(out: str | Path | None) -> Path:
    """The folder of runs to read."""
    return existing(out) if out else root_folder()


def _paths(given: Given) -> tuple[Path, ...]:
    return places([given] if isinstance(given, str | Path) else given)


@contextlib.contextmanager
def _told(total: int, progress: bool) -> Iterator[Any]:
    """The function that is told of events: a notebook shows a line for what begins and ends in its output, a terminal bars."""
    from elboard.bench.cli.live import display

    if not progress:
        yield lambda spec, event: None
        return
    with contextlib.redirect_stderr(sys.stdout if "ipykernel" in sys.modules else sys.stderr), display(total) as watch:
        yield watch


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Puts back what a run sets for the whole process: random states, threads, deterministic algorithms."""
    import numpy as np
    import torch

    states, threads = (random.getstate(), np.random.get_state()), torch.get_num_threads()
    strict, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warned)
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
