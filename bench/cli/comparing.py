"""``compare`` and ``power``: several tasks together, and how many more seeds two methods need."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError, nearest
from elboard.bench.registry import discover


def print_comparison(family: str, budget: str, as_json: bool, shipped: bool, out: Path | None, paths: tuple[Path, ...]) -> None:
    """Methods over the tasks of a family (or all): mean rank, win rate, IQM, Elo. Raises UserError for an unknown family."""
    from elboard.bench.cli.boards import read_groups, telling
    from elboard.results.board.across import complete, gather, summary
    from elboard.results.board.build import boards

    families = {entry.card.family for entry in discover("task", paths).values()}
    if family and family not in families:
        raise UserError(f"no family {family!r}: {nearest(family, families)}")
    groups = read_groups(out, shipped, family)
    with telling():
        parts = complete(gather(boards(groups, family, paths), budget))
    tables = [{"tasks": part.tasks, "methods": part.methods, "estimates": summary(part.values, part.higher)} for part in parts]
    if as_json:
        print(json.dumps([_plain(table) for table in tables], indent=1))
        return
    if not tables:
        print(f"no two methods have records on two tasks at budget {budget}{f' in {family}' if family else ''}")
    for table in tables:
        _print(table)


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    columns = {
        name: [{"value": number(v), "low_95": number(a), "high_95": number(b)} for v, a, b in zip(e.value, e.low, e.high, strict=True)]
        for name, e in table["estimates"].items()
    }
    rows = [{"method": method, **{name: column[i] for name, column in columns.items()}} for i, method in enumerate(table["methods"])]
    return {"tasks": list(table["tasks"]), "methods": rows}


def _text(value: float, low: float, high: float, digits: int) -> str:
    interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


DIGITS = {"mean_rank": 2, "win_rate": 3, "iqm": 3, "elo": 0}


def _print(table: dict[str, Any]) -> None:
    from elboard.bench.cli.listing import print_table

    estimates = table["estimates"]
    order = sorted(range(len(table["methods"])), key=lambda i: (estimates["mean_rank"].value[i], table["methods"][i]))
    rows = [[table["methods"][i], *(_text(e.value[i], e.low[i], e.high[i], DIGITS[name]) for name, e in estimates.items())] for i in order]
    print(f"on {', '.join(table['tasks'])}, by their primary metrics")
    print_table(["method", *(name.replace("_", " ") for name in estimates)], rows)
    print("[95 % interval: bootstrap over repetitions, tasks held fixed]; iqm: interquartile mean of scores, 0 the worst, 1 the best\n")


def power_command(
    a: str, b: str, task: str, metric: str, budget: str, queue: Path | None, shipped: bool, out: Path | None, paths: tuple[Path, ...]
) -> None:
    """How many more seeds would separate ``a`` from ``b`` at 80 % power, and what they cost. ``queue``: a sweep file to write for them.

    Raises UserError for unknown names, or where a side has no records.
    """
    from elboard.bench.cli.boards import read_groups, telling
    from elboard.results.board.build import Choice, boards
    from elboard.results.stats import compare, needed

    choice = Choice(metrics=(metric,) if metric else (), sort=metric, budget=budget)
    groups = read_groups(out, shipped, task)
    with telling():
        found = boards(groups, task, paths, choice)
    if not found:
        raise UserError(f"no records on {task!r} at budget {budget}: {nearest(task, discover('task', paths))}")
    (board,) = found
    rows = [_row(board, name) for name in (a, b)]
    left, right = (row.values.get(board.primary, {}) for row in rows)
    test, more = compare(left, right), needed(left, right)
    print(f"{board.task}, {board.budget}, {board.primary}: {rows[0].label} (n = {len(left)}) - {rows[1].label} (n = {len(right)})")
    interval = "" if test.p is None else f" [{test.low:.4g}, {test.high:.4g}], p = {test.p:.3g}"
    print(f"difference {test.effect:.4g}{interval} ({test.test})")
    if more.extra_seeds is None:
        print(f"no answer: {more.reason}")
        return
    if more.extra_seeds == 0:
        print(f"the seeds at hand have 80 % power for a difference of this size{'; it is shown' if (test.p or 1) < 0.05 else ''}")
        return
    seconds = sum(row.cost.get("wall_s", 0.0) * (more.total - n) for row, n in zip(rows, (len(left), len(right)), strict=True))
    print(f"{more.total} seeds each, {more.extra_seeds} more, would show it in four of five repetitions, if it is this large;")
    print(f"about {_duration(seconds)} of runs one after another, from the costs on record")
    if queue is not None:
        _queue(board, rows, more.total, queue)


def _row(board: Any, name: str) -> Any:
    """The row labelled ``name``, or the one of that method in its defaults."""
    for row in board.rows:
        if row.label == name or (row.method == name and not row.changed):
            return row
    raise UserError(f"no row {name!r} on {board.task}, {board.budget}: {nearest(name, [row.label for row in board.rows])}")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} s"


def _queue(board: Any, rows: list[Any], total: int, file: Path) -> None:
    """Write a sweep of the missing seeds; new seeds follow the largest one of both."""
    import yaml

    from elboard.bench.record import write_text_atomically

    entries = []
    for row in rows:
        first = max(row.seeds) + 1
        seeds = f"{first}-{first + total - row.n - 1}"
        if total > row.n:
            entry = {"tasks": [board.task], "methods": [row.method], "seeds": seeds}
            entries.append({**entry, "set": dict(row.changed)} if row.changed else entry)
    labels = " and ".join(row.label for row in rows)
    tree = {"name": file.stem, "description": f"seeds that separate {labels} on {board.task}", "budget": board.budget, "runs": entries}
    write_text_atomically(file, yaml.safe_dump(tree, sort_keys=False))
    print(f"wrote {file}; run it with `elboard sweep {file}`")
