"""The pages of cards and boards: for each its address, its template and what the template needs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elboard.bench.metrics.conventions import convention, conventions, parse
from elboard.results.board.build import Board, Row, arrow
from elboard.results.board.render import caption, heading, number
from elboard.results.board.site.data import task_data
from elboard.results.board.site.embed import embedded, slug
from elboard.results.board.site.model import Model, families, method_url, paper_url, task_url
from elboard.results.board.site.source import first_line, options, paragraphs, shown_path
from elboard.results.claims import summary

CURVES = 8  # tasks of a method whose curves its page holds


@dataclass(frozen=True)
class Page:
    """A page: ``url`` from the root of the site, ``template``, its ``context``, and ``copies`` of files by their address."""

    url: str
    template: str
    context: dict[str, Any]
    section: str = ""
    copies: dict[str, Path] = field(default_factory=dict)


def card_pages(model: Model) -> Iterator[Page]:
    """Overview, boards, methods, metrics and statistics."""
    yield Page("index.html", "index.html", _index(model))
    yield Page("boards.html", "boards.html", {"families": _board_families(model)}, "boards.html")
    yield Page("methods.html", "methods.html", {"families": _method_families(model)}, "methods.html")
    yield Page("metrics.html", "metrics.html", {"metrics": _metrics(model)}, "metrics.html")
    yield Page("statistics.html", "statistics.html", {}, "statistics.html")
    for task in model.tasks:
        yield _task(model, task)
    for method in model.method_names:
        yield _method(model, method)


def leaders(board: Board) -> tuple[list[Row], bool]:
    """The rows of the first rank by the primary metric, and whether anything could be tested; else the row with the best mean."""
    first = [row for row in board.rows if row.ranks.get(board.primary) == 1]
    return (first, True) if first else ([row for row in board.rows if board.primary in row.cells][:1], False)


def _index(model: Model) -> dict[str, Any]:
    task_families = families(sorted(model.tasks), model.tasks)
    found: dict[str, list[dict]] = {}
    for task, built in model.boards_of.items():
        for board in built:
            if board.current and board.budget == "lite":
                rows, separated = leaders(board)
                first = [{"label": row.label, "url": method_url(row.method)} for row in rows]
                item = {"name": task.split("/", 1)[1], "url": task_url(task), "first": first, "separated": separated}
                found.setdefault(model.tasks[task].card.family, []).append(item)
    return {
        "n_methods": len(model.methods),
        "n_tasks": len(model.tasks),
        "n_families": len(task_families),
        "n_papers": len(model.papers),
        "n_claims": len(model.claims),
        "claims": summary(model.claims),
        "leaders": found,
        "task_families": task_families,
        "matrix": _matrix(model, task_families),
    }


def _matrix(model: Model, task_families: dict[str, list[str]]) -> dict[str, list[dict]]:
    tasks = [task for names in task_families.values() for task in names]

    def cell(method: str, task: str) -> dict[str, Any]:
        runs = model.runs[task, method]
        state = "has" if runs else "can" if model.fits(method, task) else "no"
        return {"task": task, "url": task_url(task), "runs": runs, "state": state}

    return {
        family: [{"name": name, "url": method_url(name), "cells": [cell(name, task) for task in tasks]} for name in names]
        for family, names in families(model.method_names, model.methods).items()
    }


def _board_families(model: Model) -> dict[str, list[dict]]:
    def task(name: str) -> dict[str, Any]:
        card, current = model.tasks[name].card, [board for board in model.boards_of.get(name, []) if board.current]
        return {
            "name": name,
            "title": card.title,
            "url": task_url(name),
            "primary": card.primary,
            "methods": len({row.method for board in current for row in board.rows}),
            "runs": sum(row.n for board in current for row in board.rows),
            "budgets": ", ".join(board.budget for board in current),
            "fitting": sum(model.fits(method, name) for method in model.methods),
        }

    return {family: [task(name) for name in names] for family, names in families(sorted(model.tasks), model.tasks).items()}


def _method_families(model: Model) -> dict[str, list[dict]]:
    def method(name: str) -> dict[str, Any]:
        runs = {task: n for (task, known), n in model.runs.items() if known == name and n}
        card = model.methods[name].card if name in model.methods else None
        about = {"title": card.title if card else "known from records only", "cite": card.cite if card else ""}
        return {"name": name, "url": method_url(name), "runs": sum(runs.values()), "tasks": len(runs), **about}

    return {family: [method(name) for name in names] for family, names in families(model.method_names, model.methods).items()}


def _metrics(model: Model) -> list[dict[str, Any]]:
    used: dict[str, list[str]] = {}
    for name, entry in model.tasks.items():
        for key in entry.card.metrics:
            used.setdefault(parse(key).name, []).append(name)
    return [
        {
            "of": of,
            "low": "" if of.low == -float("inf") else f"{of.low:g}",
            "high": "" if of.high == float("inf") else f"{of.high:g}",
            "tasks": [{"name": task, "url": task_url(task)} for task in dict.fromkeys(used.get(name, []))],
        }
        for name, of in conventions().items()
    ]


def _task(model: Model, name: str) -> Page:
    entry = model.tasks[name]
    card, built = entry.card, model.boards_of.get(name, [])
    known = {paper.number: paper for paper in model.papers}
    context = {
        "card": card,
        "primary": {"title": convention(card.primary).title, "arrow": arrow(card.primary)},
        "boards": built,
        "caption": f"{heading(built[0])} ({caption(built[0])})" if built else "",
        "fallback": _fallback(built[0], card.metrics) if built else None,
        "data": embedded(task_data(model, name), "board-data") if built else "",
        "first_line": first_line(entry.file),
        "parts": paragraphs(entry.file),
        "metrics": [{"key": key, "name": parse(key).name} for key in card.metrics],
        "papers": [{"title": known[n].title, "url": paper_url(known[n].slug)} for n in card.papers if n in known],
        "fitting": [{"name": method, "url": method_url(method)} for method in model.method_names if model.fits(method, name)],
        "budgets": {budget: json.dumps(values) for budget, values in entry.budgets().items()},
        "path": shown_path(entry),
    }
    return Page(task_url(name), "task.html", context, "boards.html")


def _fallback(board: Board, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The board for readers without scripts."""
    from elboard.results.board.build import columns_of

    keys = columns_of((board.primary, *wanted), board.columns)
    rows = [
        {
            "label": row.label,
            "url": method_url(row.method),
            "n": row.n,
            "rank": row.ranks.get(board.primary),
            "cells": [number(row.cells.get(key)) for key in keys],
        }
        for row in board.rows
    ]
    return {"columns": [f"{key} {arrow(key)}".strip() for key in keys], "rows": rows}


def _method(model: Model, name: str) -> Page:
    entry, found = model.methods.get(name), model.rows_of.get(name, [])
    card = entry.card if entry else None
    context: dict[str, Any] = {
        "name": name,
        "family": card.family if card else "no card",
        "card": card,
        "results": [_result(board, row) for board, row in found],
        "fitting": [{"name": task, "url": task_url(task)} for task in sorted(model.tasks) if model.fits(name, task)],
        "claims": _claims_of(model, name),
        "options": options(entry) if entry else [],
    }
    if entry:
        paper = next((paper for paper in model.papers if paper.number == card.paper), None)
        context |= {
            "first_line": first_line(entry.file),
            "parts": paragraphs(entry.file),
            "path": shown_path(entry),
            "paper": {"title": paper.title, "url": paper_url(paper.slug)} if paper else None,
            "bases": [(words["method"], method_url(words["method"])) for words in card.bases.values()],
        }
    copies, context["pictures"] = _pictures(model, name, found)
    curves = _curves(model, found)
    context |= {"curves": bool(curves), "data": embedded(curves, "curve-data")}
    return Page(method_url(name), "method.html", context, "methods.html", copies)


def _result(board: Board, row: Row) -> dict[str, Any]:
    return {
        "task": board.task,
        "url": task_url(board.task),
        "budget": board.budget,
        "configuration": row.label.removeprefix(row.method).strip() or "default",
        "rank": row.ranks.get(board.primary),
        "of": len(board.rows),
        "metric": f"{board.primary} {arrow(board.primary)}".strip(),
        "value": number(row.cells.get(board.primary)),
        "n": row.n,
        "badge": row.badge,
    }


def _plainest(found: list[tuple[Board, Row]]) -> list[tuple[Board, Row]]:
    """One row of each board: the one with the fewest changed options, the best of these."""
    chosen: dict[tuple[str, str], tuple[Board, Row]] = {}
    for board, row in sorted(found, key=lambda item: (len(item[1].changed), bool(item[1].tuned))):
        chosen.setdefault((board.task, board.budget), (board, row))
    return list(chosen.values())


def _pictures(model: Model, method: str, found: list[tuple[Board, Row]]) -> tuple[dict[str, Path], list[dict[str, str]]]:
    copies, shown = {}, []
    for board, row in _plainest(found):
        for name, file in model.gallery.pictures(row.keys):
            url = f"pictures/{slug(method)}/{slug(board.task)}/{slug(board.budget)}/{slug(name)}.png"
            copies[url] = file
            shown.append({"src": url, "name": name, "task": f"{board.task}, {board.budget}"})
    return copies, shown


def _curves(model: Model, found: list[tuple[Board, Row]]) -> list[dict[str, Any]]:
    curves = ((board, model.gallery.curves(row.keys)) for board, row in _plainest(found))
    kept = ({"task": f"{board.task}, {board.budget}", "runs": runs} for board, runs in curves if runs)
    return list(itertools.islice(kept, CURVES))


def _claims_of(model: Model, method: str) -> list[dict[str, str]]:
    return [
        {"status": entry.status, "text": entry.claim.text, "paper": entry.paper.title, "url": paper_url(entry.paper.slug)}
        for entry in model.claims
        if entry.claim.check and method in [side.method for side in entry.claim.check.sides]
    ]
