"""``list`` and ``show``: from cards, without torch."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench.card import fits, missing
from elboard.bench.cli.app import OutThere, Paths, app
from elboard.bench.cli.printing import print_table, read_groups
from elboard.bench.errors import UserError, nearest
from elboard.bench.registry import Entry, aliases, discover, here
from elboard.bench.source import tree
from elboard.results.tuning import tuning_of

KINDS = ("methods", "tasks", "sweeps", "papers")
STATES = ("none", "code", "runs", "claim", "full")  # of papers, elboard.results.states


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, tasks, sweeps or papers.")],
    family: Annotated[str, typer.Option(help="Of methods, tasks and papers: this family alone.")] = "",
    state: Annotated[str, typer.Option(help="Of papers: none, code, runs, claim or full.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As a list of objects.")] = False,
    out: OutThere = None,
    path: Paths = [],  # noqa: B006 (typer reads the default)
) -> None:
    """List methods, tasks, sweeps or papers."""
    if what not in KINDS:
        raise UserError(f"cannot list {what!r}: {nearest(what, KINDS)}")
    entries = {"methods": _methods, "tasks": _tasks, "sweeps": _sweeps, "papers": _papers}[what](tuple(path), out)
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
        about = {"method": card.name, "family": card.family, "paper": card.paper, "what": card.title}
        rows.append({**about, "runs on": sorted({task.family for task in tasks if fits(card, task)})})
        rows[-1] |= {"source": card.cite, "options": tuning_of(card, "", {}).words, "recipes": list(card.recipes)}
    return rows


def _tasks(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    methods, rows = [entry.card for entry in discover("method", paths).values()], []
    for name, entry in sorted(here(discover("task", paths)).items()):
        card = entry.card
        about = {"task": name, "family": card.family, "version": f"v{card.version}", "what": card.title, "primary metric": card.primary}
        about |= {"budgets": list(entry.budgets()), "methods": sum(fits(method, card) for method in methods)}
        rows.append({**about, "full is": card.full or ("not said" if "full" in entry.budgets() else "")})
    return rows


def _sweeps(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    from elboard.sweeps.named import named

    return [{"sweep": name, "what": description} for name, description in named().items()]


def _papers(paths: tuple[Path, ...], out: Path | None) -> list[dict[str, Any]]:
    from elboard.results.states import states

    return states(read_groups(out, shipped=True), paths)


@app.command()
def show(name: str, path: Paths = []) -> None:  # noqa: B006
    """Show a method or a task: its card, its options with their defaults, what it fits."""
    paths = tuple(path)
    methods, tasks = discover("method", paths), discover("task", paths)
    others = aliases("method", paths) | aliases("task", paths)
    entry = (methods | tasks).get(others.get(name, name))
    if entry is None:
        raise UserError(f"no method or task {name!r}: {nearest(name, [*methods, *tasks, *others])}")
    card = entry.card
    print(f"{card.name}: {card.title}\n")
    if missing(card):
        print(f"not here: {missing(card)}\n")
    print(ast.get_docstring(tree(entry.file)) or "", "\n")
    for field_name in card.__dataclass_fields__:
        value = getattr(card, field_name)
        if field_name == "bases":
            for role, words in value.items():
                said = {"task": "the same task"} | words
                if isinstance(said["task"], dict):
                    said["task"] = ", ".join(f"{of} (of {own})" for own, of in said["task"].items())
                more = "".join(f", {name} {said[name]}" for name in ("budget", "seed", "count", "set") if name in said)
                print(f"starts from {role}: {said['method']} on {said['task']}{more}")
        elif field_name == "defaults":
            print(f"defaults: {card.found}")
        elif field_name == "recipes":
            for name, recipe in value.items():
                how = f" (the best of {recipe['trials']} on {recipe['on']} by validation {recipe['by']})" if "trials" in recipe else ""
                print(f"--recipe {name}: {', '.join(f'{option}={chosen}' for option, chosen in recipe['set'].items())}{how}")
        elif field_name not in ("name", "title") and value:
            print(f"{field_name}: {', '.join(map(str, value)) if isinstance(value, tuple) else value}")
    print(f"file: {entry.file}\n")
    _print_options(entry)
    if entry.kind == "method":
        others = [task.card.name for task in tasks.values() if fits(card, task.card)]
        print("runs on:", ", ".join(sorted(others)) or "no task here")
    else:
        for budget, values in entry.budgets().items():
            print(f"budget {budget}: {json.dumps(values)}")
        print("methods:", ", ".join(sorted(m.card.name for m in methods.values() if fits(m.card, card))) or "none here")


def _print_options(entry: Entry) -> None:
    schema = entry.config_class()
    prefix = "task." if entry.kind == "task" else ""
    for name, column in schema.__dataclass_fields__.items():
        default = column.default_factory() if callable(column.default_factory) else column.default
        print(f"  {prefix}{name} = {default!r}  ({column.metadata['kind']})")
    print()
