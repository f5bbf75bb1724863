"""``list``, ``show`` and ``why``: from cards and records, without torch."""

from __future__ import annotations

import ast
import itertools
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from elboard.bench.card import fits, missing
from elboard.bench.errors import UserError, nearest
from elboard.bench.registry import Entry, aliases, discover, here

KINDS = ("methods", "tasks", "sweeps", "papers")
STATES = ("none", "code", "runs", "claim", "full")  # of papers, elboard.results.states


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A plain table on standard output; folded to the terminal's width, whole where the output is not a terminal.

    Not rich's: that takes 0.3 s for a hundred rows, and listings are to be instant.
    """
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1) if sys.stdout.isatty() else sum(widths)
    while sum(widths) > room and max(widths) > 12:
        widths[widths.index(max(widths))] -= 1
    for row in (columns, ["-" * width for width in widths], *rows):
        folded = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*folded, fillvalue=""):
            print("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())


def print_list(what: str, paths: tuple[Path, ...], family: str, state: str, as_json: bool, out: Path | None) -> None:
    """``elboard list``: those of a ``family`` and, papers, in a ``state``. Raises UserError for an unknown kind, family or state."""
    if what not in KINDS:
        raise UserError(f"cannot list {what!r}: {nearest(what, KINDS)}")
    entries = {"methods": _methods, "tasks": _tasks, "sweeps": _sweeps, "papers": _papers}[what](paths, out)
    for name, wanted in (("family", family), ("state", state)):
        known = {entry.get(name) for entry in entries} | (set(STATES) if name == "state" and what == "papers" else set())
        if wanted and known == {None}:
            raise UserError(f"{what} have no {name}")
        if wanted and wanted not in known:
            raise UserError(f"no {name} {wanted!r}: {nearest(wanted, known)}")
        entries = [entry for entry in entries if wanted in ("", entry.get(name))]
    if as_json:
        print(json.dumps(entries, indent=1, ensure_ascii=False))
    elif entries:
        print_table(list(entries[0]), [[_cell(*pair) for pair in entry.items()] for entry in entries])


def _cell(name: str, value: Any) -> str:
    """As a cell shows it: a paper's number with three digits, a list, counts."""
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return ", ".join(value) if isinstance(value, list) else f"{value:03d}" if name == "n" else str(value)


def _methods(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    cards = sorted((entry.card for entry in here(discover("method", paths)).values()), key=lambda card: (card.family, card.name))
    tasks, rows = [entry.card for entry in discover("task", paths).values()], []
    for card in cards:
        about = {"method": card.name, "family": card.family, "paper": card.paper, "what": card.title, "source": card.cite}
        rows.append({**about, "runs on": sorted({task.family for task in tasks if fits(card, task)})})
    return rows


def _tasks(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    methods, rows = [entry.card for entry in discover("method", paths).values()], []
    for name, entry in sorted(here(discover("task", paths)).items()):
        card = entry.card
        about = {"task": name, "family": card.family, "version": f"v{card.version}", "what": card.title, "primary metric": card.primary}
        rows.append({**about, "budgets": list(entry.budgets()), "methods": sum(fits(method, card) for method in methods)})
    return rows


def _sweeps(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    from elboard.sweeps.named import named

    return [{"sweep": name, "what": description} for name, description in named().items()]


def _papers(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    from elboard.bench.cli.boards import read_groups
    from elboard.results.states import states

    return states(read_groups(out, shipped=True), paths)


def print_entry(name: str, paths: tuple[Path, ...]) -> None:
    """``elboard show``. Raises UserError with the nearest names."""
    methods, tasks = discover("method", paths), discover("task", paths)
    others = aliases("method", paths) | aliases("task", paths)
    entry = (methods | tasks).get(others.get(name, name))
    if entry is None:
        raise UserError(f"no method or task {name!r}: {nearest(name, [*methods, *tasks, *others])}")
    card = entry.card
    print(f"{card.name}: {card.title}\n")
    if missing(card):
        print(f"not here: {missing(card)}\n")
    print(_docstring(entry.file), "\n")
    for field_name in card.__dataclass_fields__:
        value = getattr(card, field_name)
        if field_name == "bases":
            for role, words in value.items():
                said = {"task": "the same task"} | words
                more = "".join(f", {name} {said[name]}" for name in ("budget", "seed", "count", "set") if name in said)
                print(f"starts from {role}: {said['method']} on {said['task']}{more}")
        elif field_name not in ("name", "title") and value:
            print(f"{field_name}: {', '.join(map(str, value)) if isinstance(value, tuple) else value}")
    print(f"file: {entry.file}\n")
    _print_options(entry)
    if entry.kind == "method":
        others = [task.card.name for task in tasks.values() if fits(card, task.card)]
        print("runs on:", ", ".join(sorted(others)) or "no task here")
        if entry.recipes():
            print("set for some tasks:", json.dumps(entry.recipes()))
    else:
        for budget, values in entry.budgets().items():
            print(f"budget {budget}: {json.dumps(values)}")
        print("methods:", ", ".join(sorted(m.card.name for m in methods.values() if fits(m.card, card))) or "none here")


def _print_options(entry: Entry) -> None:
    schema = entry.config_class()
    prefix = "task." if entry.kind == "task" else ""
    for name, column in schema.__dataclass_fields__.items():
        default = column.default_factory() if callable(column.default_factory) else column.default
        kind = getattr(column.type, "__name__", str(column.type)) if not getattr(column.type, "__args__", None) else str(column.type)
        print(f"  {prefix}{name} = {default!r}  ({kind})")
    print()


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def print_why(key: str, out: Path | None) -> None:
    """``elboard why``. Raises UserError for an unknown or ambiguous key."""
    from elboard.bench.config import difference
    from elboard.bench.run import root_folder
    from elboard.results.store import latest, load, spec_of

    found = latest(load(root_folder(out)))
    matches = [known for known in found if known.startswith(key)]
    if len(matches) != 1:
        said = (
            f"{len(matches)} keys begin with {key!r}: {', '.join(sorted(matches)[:6])}"
            if matches
            else f"no run {key!r}: {nearest(key, found)}"
        )
        raise UserError(said)
    record = found[matches[0]]
    spec = spec_of(record)
    print(f"{record.key}: {spec.method} on {spec.task}, {record.status}")
    if record.failure:
        print(f"failed ({record.failure['class']}): {record.failure['message']}")
    for role, runs in spec.bases.items():
        for base in runs:
            print(f"starts from {role}: {base.key} {base.method} on {base.task}, {base.budget}, seed {base.seed}")
    print(json.dumps(spec.identity(), indent=1, sort_keys=True))
    others = []
    for other_key, other in found.items():
        if other_key != record.key:
            leaves = difference(spec.identity(), spec_of(other).identity())
            others.append((len(leaves), other_key, leaves))
    if others:
        _, other_key, leaves = min(others, key=lambda item: item[:2])
        print(f"nearest other run: {other_key}")
        for leaf, (mine, theirs) in leaves.items():
            print(f"  {leaf}: {mine!r} here, {theirs!r} there")
