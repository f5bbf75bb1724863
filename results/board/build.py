"""From records to boards: one board for a task, its version and a budget; one row for a method and its configuration."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.card import TaskCard
from bench.config import RunSpec, difference, resolve
from bench.errors import UserError
from bench.metrics.conventions import bare, convention
from bench.record import Record
from bench.registry import discover
from results.stats import Cell, summarise
from results.store import latest, spec_of


@dataclass(frozen=True)
class Row:
    """A method with one configuration. ``changed`` holds the options that differ from the task's defaults."""

    method: str
    changed: dict[str, object]
    seeds: tuple[int, ...]
    cells: dict[str, Cell]
    wall_s: float
    failed: int
    keys: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.changed.items())
        return f"{self.method} ({settings})" if settings else self.method


@dataclass(frozen=True)
class Board:
    """Rows of one task, version and budget, best first; a board never mixes versions or budgets."""

    task: str
    version: int
    budget: str
    title: str
    columns: tuple[str, ...]
    primary: str
    varies: str
    rows: tuple[Row, ...] = field(default=())


def columns_of(card: TaskCard, present: Iterable[str]) -> tuple[str, ...]:
    """The card's metric keys that occur in ``present``; a name without brackets stands for all its bracketed variants (``fid``)."""
    present = list(dict.fromkeys(present))
    chosen: list[str] = []
    for wanted in card.metrics:
        if wanted in present:
            chosen.append(wanted)
        else:
            chosen += [key for key in present if bare(key) == wanted]
    return tuple(dict.fromkeys(chosen))


def _changed(spec: RunSpec) -> dict[str, object]:
    """Options that differ from the defaults of the method on this task, budget apart."""
    try:
        default = resolve(spec.task, spec.method, seed=spec.seed, budget=spec.budget, paths=spec.paths)
    except UserError:
        return {"key": spec.key}
    pairs = difference(spec.identity(), default.identity())
    return {name.removeprefix("config.").removeprefix("method."): value for name, (value, _) in pairs.items()}


def boards(records: Iterable[Record], pattern: str = "", paths: tuple[Path, ...] = ()) -> list[Board]:
    """Boards of all tasks, or of the task or family ``pattern``. Records of other versions than the present ones are left out."""
    cards = {name: entry.card for name, entry in discover("task", paths).items()}
    groups: dict[tuple, dict[str, list[tuple[RunSpec, Record]]]] = defaultdict(lambda: defaultdict(list))
    for record in latest(records).values():
        if "trial" in record.notes:
            continue  # of a search: what it chose has records of its own
        spec = spec_of(record)
        card = cards.get(spec.task)
        if card is None or card.version != spec.task_version or pattern not in ("", spec.task, card.family):
            continue
        tree = {name: value for name, value in spec.identity().items() if name != "seed"}
        if "base" in tree:
            tree["base"] = {name: value for name, value in tree["base"].items() if name != "seed"}
        groups[spec.task, spec.budget][json.dumps(tree, sort_keys=True)].append((spec, record))
    return [_board(cards[task], budget, list(rows.values())) for (task, budget), rows in sorted(groups.items())]


def _board(card: TaskCard, budget: str, groups: list[list[tuple[RunSpec, Record]]]) -> Board:
    present = [key for group in groups for _, record in group for key in record.metrics]
    columns = columns_of(card, present)
    rows = [_row(group, columns) for group in groups]
    primary = next((name for name in columns if card.primary in (name, bare(name))), card.primary)
    sign = -1 if convention(primary).direction == "higher" else 1

    def order(row: Row) -> tuple:
        cell = row.cells.get(primary)
        return (cell is None, sign * cell.mean if cell else 0.0, row.label)

    return Board(card.name, card.version, budget, card.title, columns, primary, card.varies, tuple(sorted(rows, key=order)))


def _row(group: list[tuple[RunSpec, Record]], columns: tuple[str, ...]) -> Row:
    done = [(spec, record) for spec, record in group if record.status == "done"]
    cells = {}
    for name in columns:
        values = [record.metrics[name] for _, record in done if name in record.metrics]
        if values:
            cells[name] = summarise(values)
    spec = group[0][0]
    seconds = [record.cost.get("wall_s", 0.0) for _, record in done]
    return Row(
        method=spec.method,
        changed=_changed(spec),
        seeds=tuple(sorted(spec.seed for spec, _ in done)),
        cells=cells,
        wall_s=sum(seconds) / len(seconds) if seconds else 0.0,
        failed=len(group) - len(done),
        keys=tuple(sorted(record.key for _, record in group)),
    )


def arrow(key: str) -> str:
    """``↑`` where higher is better, ``↓`` where lower is, else nothing."""
    return {"higher": "↑", "lower": "↓"}.get(convention(key).direction, "")
