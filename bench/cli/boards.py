"""``leaderboard``, ``compare`` and ``power``: records of one task, of several together, and how many more seeds two methods need."""

from __future__ import annotations

import fnmatch
import gc
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench.cli.app import Counted, Json, OutThere, Paths, Shipped, app
from elboard.bench.cli.printing import check_scope, print_table, print_tables, read_groups, telling, terminal_width
from elboard.bench.config import BUDGETS
from elboard.bench.errors import UserError, check_known, command, nearest
from elboard.bench.folders import path_of
from elboard.bench.identity import UNSAID
from elboard.bench.registry import discover
from elboard.bench.run import root_folder

FEW = 10  # rows of each of several tables
DIGITS = {"mean_rank": 2, "win_rate": 3, "iqm": 3, "elo": 0}


@app.command()
def leaderboard(
    which: Annotated[str, typer.Argument(help="A task or a family; all if left out.")] = "",
    kind: Annotated[str, typer.Option("--format", help="table, md, csv, json, latex or html.")] = "table",
    metric: Annotated[list[str], typer.Option("--metric", help="A metric to show, or `all`; repeatable.")] = [],  # noqa: B006
    sort: Annotated[str, typer.Option("--sort", help="The metric that orders and ranks (default: the task's primary one).")] = "",
    method: Annotated[list[str], typer.Option("--method", help="Methods to show, as 'mult-*'; repeatable.")] = [],  # noqa: B006
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full.")] = "",
    min_n: Annotated[int, typer.Option("--min-n", min=1, help="Rows of at least so many seeds.")] = 1,
    top: Annotated[
        int | None, typer.Option("--top", min=0, help="Rows of each table, 0: all (default: 10 where there are several).")
    ] = None,
    tuned: Annotated[str, typer.Option("--tuned", help="Configurations that a search chose: only, or without.")] = "",
    old: Annotated[bool, typer.Option("--old", help="Boards of earlier versions of tasks too.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="All columns, also those that do not fit the terminal.")] = False,
    shipped: Shipped = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Print leaderboards from records; where no task, columns or rows are named, the leaders of each."""
    from elboard.results.board.build import Choice, read_boards
    from elboard.results.board.render import FORMATS, render

    check_known("format", kind, FORMATS)
    paths = tuple(path)
    check_scope(which, paths)
    choice = Choice(tuple(metric), budget, tuple(method), sort, min_n, tuned, old, rank_all=kind != "table")
    choice.check()
    with telling():
        groups, found = read_boards(root_folder(out), shipped, which, paths, choice)
        gc.freeze()  # all of it stays until the command ends: tables are made in a third less time if nobody looks for garbage in it
        if kind != "table":
            print(render(found, kind), end="")
            return
    absent = sorted({group.task for group in groups} - {*discover("task", paths)})
    if absent:
        print(f"no board of {', '.join(absent)}: not here; name the place of its task with --path", file=sys.stderr)
    if not found:
        print("no records of these; try `elboard sweep quickstart`")
    elif which or metric or wide or top is not None:
        print_tables(found, top if top is not None else 0 if which in discover("task", paths) else FEW, wide)
    else:
        print_leaders(found)


def print_leaders(found: list[Any]) -> None:
    from elboard.results.board.leaders import MEANING, lines
    from elboard.results.markup import fold

    width = terminal_width()
    said = f"mean ± 95 % interval; {MEANING}; elboard leaderboard TASK prints its board, --top 10 all boards"
    print("\n".join([*lines(found, width), "", *fold(said, width)]))


@app.command()
def compare(
    family: Annotated[str, typer.Argument(help="A family of tasks; all if left out.")] = "",
    task: Annotated[list[str], typer.Option("--task", help="Tasks to compare on, as 'ood/*'; repeatable.")] = [],  # noqa: B006
    method: Annotated[list[str], typer.Option("--method", help="Methods, or rows as boards name them, as 'vae*'; repeatable.")] = [],  # noqa: B006
    metric: Annotated[str, typer.Option("--metric", help="Default: the primary one of each task.")] = "",
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full.")] = "lite",
    as_json: Json = False,
    shipped: Counted = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Methods over several tasks that all of them have: mean rank, win rate, interquartile mean, Elo."""
    from elboard.results.board.across import complete, gather, left_out, summary
    from elboard.results.board.build import Choice, boards
    from elboard.results.markup import finite

    paths, which = tuple(path), {"metrics": (metric,), "sort": metric} if metric else {}
    Choice(**which).check()
    check_known("budget", budget, BUDGETS)
    if family:
        check_known("family", family, {entry.card.family for entry in discover("task", paths).values()})
    groups = read_groups(out, shipped, family)
    with telling():
        found = boards(groups, family, paths, Choice(**which))
        across = gather(found, budget, metric, least=1)
        chosen = _chosen(across, method, task)
        parts = complete(across, *chosen)
    rest = left_out(found, budget, across, parts, *chosen)
    if not parts and (method or task):
        raise UserError(f"no two methods on two tasks of these at budget {budget}; {'; '.join(_by_reason(rest, 3))}")
    tables = [
        {"tasks": part.tasks, "metrics": part.metrics, "methods": part.methods, "estimates": summary(part.values, part.higher)}
        for part in parts
    ]
    if as_json:
        said = {"tables": [_plain(table) for table in tables], "left_out": rest}
        print(json.dumps(finite(said), indent=1, allow_nan=False))
        return
    if not tables:
        print(f"no two methods have records on two tasks at budget {budget}{f' in {family}' if family else ''}")
    for table in tables:
        _print(table)
    _print_rest(rest)


def _chosen(across: Any, method: list[str], task: list[str]) -> tuple[list[str], list[str]]:
    """The methods, of those that stand on some of the tasks, and the tasks: of those that a pattern alone names, where methods are named
    too, the ones on which all methods stand that are named in full, or if those are not two, any method. Raises UserError where one alone
    of either fits."""
    tasks = _named("task", task, across.tasks)
    methods = _named("method", method, [label for label in across.methods if not tasks or {*tasks} & {*across.on(label)}])
    taken = {of for label in methods for of in across.on(label)} if methods else {*tasks}
    common = taken.intersection(tasks, *(across.on(label) for label in methods if label in method))
    taken = common if len(common) > 1 else taken
    tasks = [name for name in tasks if name in taken or name in task]
    if len(tasks) == 1:
        raise UserError(f"{tasks[0]} alone: compare needs two tasks; `elboard leaderboard {tasks[0]}` compares on one")
    if len(methods) == 1:
        raise UserError(f"{methods[0]} alone: compare needs two methods")
    return methods, tasks


def _named(what: str, patterns: list[str], known: Sequence[str]) -> list[str]:
    """Those of ``known`` that are one of ``patterns`` or fit one. Raises UserError for a pattern that none fits."""
    names = []
    for pattern in patterns:
        fitting = [name for name in known if name == pattern] or fnmatch.filter(known, pattern)
        if not fitting:
            raise UserError(f"no {what} {pattern!r} to compare: {nearest(pattern, known)}")
        names += fitting
    return list(dict.fromkeys(names))


def _by_reason(rest: dict[str, str], most: int = 0) -> list[str]:
    """Each reason with what it is a reason for, the ``most`` first of both; all if 0."""
    names: dict[str, list[str]] = {}
    for name, reason in rest.items():
        names.setdefault(reason, []).append(name)
    lines = [f"{reason}: {'; '.join(of[: most or None])}{'; ...' if 0 < most < len(of) else ''}" for reason, of in names.items()]
    return lines[: most or None]


def _print_rest(rest: dict[str, str]) -> None:
    from elboard.results.markup import fold

    lines = [line for text in _by_reason(rest) for line in fold(text, terminal_width(), "  ", "    ")]
    print("\n".join(["left out", *lines] if lines else []), end="\n" if lines else "")


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    columns = {
        name: [{"value": number(v), "low_95": number(a), "high_95": number(b)} for v, a, b in zip(e.value, e.low, e.high, strict=True)]
        for name, e in table["estimates"].items()
    }
    rows = [{"method": method, **{name: column[i] for name, column in columns.items()}} for i, method in enumerate(table["methods"])]
    return {"tasks": list(table["tasks"]), "metrics": list(table["metrics"]), "methods": rows}


def _text(value: float, low: float, high: float, digits: int) -> str:
    interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


def _print(table: dict[str, Any]) -> None:
    from elboard.results.markup import fold

    estimates = table["estimates"]
    order = sorted(range(len(table["methods"])), key=lambda i: (estimates["mean_rank"].value[i], table["methods"][i]))
    rows = [[table["methods"][i], *(_text(e.value[i], e.low[i], e.high[i], DIGITS[name]) for name, e in estimates.items())] for i in order]
    width = terminal_width()
    tasks = ", ".join(f"{task} ({metric})" for task, metric in zip(table["tasks"], table["metrics"], strict=True))
    print("\n".join(fold(f"on {tasks}", width)))
    print_table(["method", *(name.replace("_", " ") for name in estimates)], rows)
    said = "[95 % interval: bootstrap over repetitions, tasks held fixed]; iqm: interquartile mean of scores, 0 the worst, 1 the best"
    print("\n".join([*fold(said, width), ""]))


@app.command()
def power(
    a: Annotated[str, typer.Argument(help="A method, or a row's name as boards show it.")],
    b: str,
    task: str,
    metric: Annotated[str, typer.Option("--metric", help="Default: the task's primary one.")] = "",
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full.")] = "lite",
    queue: Annotated[
        Path | None, typer.Option("--queue", parser=path_of, metavar="PATH", help="Write a sweep of the missing seeds to this file.")
    ] = None,
    shipped: Counted = True,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """How many more seeds would separate two methods, and what they cost."""
    from elboard.results.board.build import Choice, boards, columns_of
    from elboard.results.stats import needed

    check_known("task", task, discover("task", tuple(path)))
    check_known("budget", budget, BUDGETS)
    choice = Choice(metrics=(metric,) if metric else (), budget=budget)
    choice.check()
    groups = read_groups(out, shipped, task)
    with telling():
        found = boards(groups, task, tuple(path), choice)
    if not found:
        raise UserError(f"no records on {task!r} at budget {budget}")
    (board,) = found
    # Of a metric without a direction, too, two rows can differ: nothing is sorted by it.
    key = next(iter(columns_of((metric,), board.columns)), metric) if metric else board.primary
    rows = [_row(board, key, name) for name in (a, b)]
    if rows[0] is rows[1]:
        raise UserError(f"{a!r} and {b!r} are one row on {board.task}, {board.budget}: name two")
    left, right = (row.values[key] for row in rows)
    ranked, pairs = board.pairs(key, *rows)
    places = [ranked.index(row) for row in rows]
    test, more = pairs.comparison(*places), needed(left, right, pairs.spread(*places))
    print(f"{board.task}, {board.budget}, {key}: {rows[0].label} (n = {len(left)}) - {rows[1].label} (n = {len(right)})")
    interval = "" if test.p is None else f" [{test.low:.4g}, {test.high:.4g}], p = {test.p:.3g}"
    print(f"difference {test.effect:.4g}{interval} ({test.test})")
    if more.extra_seeds is None:
        print(f"no answer: {more.reason}")
        return
    if more.extra_seeds == 0:
        print(f"the seeds at hand have 80 % power for a difference of this size{'; it is shown' if (test.p or 1) < 0.05 else ''}")
        return
    print(f"{more.total} seeds each, {more.extra_seeds} more, would show it in four of five repetitions, if it is this large;")
    cost = _cost([(row.cost.get("wall_s"), more.total - n) for row, n in zip(rows, (len(left), len(right)), strict=True)])
    print(f"{cost} of runs one after another, from the costs on record")
    if queue is not None:
        _queue(board, rows, more.total, queue, command("sweep", queue, out=out, paths=path))


def _row(board: Any, key: str, name: str) -> Any:
    """The row with the metric ``key`` that is labelled ``name``, or the one of that method in its defaults."""
    rows = [row for row in board.rows if key in row.cells]
    for row in rows:
        if row.label == name or (row.method == name and not row.changed):
            return row
    raise UserError(f"no row {name!r} with {key} on {board.task}, {board.budget}: {nearest(name, [row.label for row in rows])}")


def _cost(each: list[tuple[float | None, int]]) -> str:
    """What runs take of which each kind takes so many seconds, so many times."""
    costs = [None if seconds is None else seconds * runs for seconds, runs in each if runs]
    return "an unknown time" if None in costs else f"about {_duration(sum(costs))}"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} s"


def _queue(board: Any, rows: list[Any], total: int, file: Path, then: str) -> None:
    """Write a sweep of the missing seeds, which the command ``then`` runs; new seeds follow the largest one of both."""
    import yaml

    from elboard.bench.record import write_text_atomically
    from elboard.sweeps.files import checked

    entries = []
    for row in rows:
        if {*UNSAID} & {*row.changed}:
            raise UserError(f"{row.label} is of code that is not here: no seed can be added to it")
        first = max(row.seeds) + 1
        seeds = f"{first}-{first + total - row.n - 1}"
        if total > row.n:
            entry = {"tasks": [board.task], "methods": [row.method], "seeds": seeds}
            entries.append({**entry, "set": dict(row.changed)} if row.changed else entry)
    labels = " and ".join(row.label for row in rows)
    tree = {"name": file.stem, "description": f"seeds that separate {labels} on {board.task}", "budget": board.budget, "runs": entries}
    checked(file, tree)
    write_text_atomically(file, yaml.safe_dump(tree, sort_keys=False))
    print(f"wrote {file}; run it with `{then}`")
