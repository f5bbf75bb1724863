"""The pages of cards, boards and papers: for each its address, its template and what the template needs."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elboard.bench.metrics.conventions import conventions, parse
from elboard.bench.papers import Paper
from elboard.results import tables
from elboard.results.board.build import Board, Row, columns_of
from elboard.results.board.leaders import Leaders, leaders
from elboard.results.board.site.data import task_data
from elboard.results.board.site.embed import embedded, slug
from elboard.results.board.site.model import Model, families, method_url, paper_url, task_url
from elboard.results.board.site.source import options
from elboard.results.claims import Entry as Claimed
from elboard.results.claims import claim_text, part_text, relation_text, summary

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
    tasks, methods = families(sorted(model.tasks), model.tasks), families(model.method_names, model.methods)
    overview = {"claims": summary(model.claims), "leaders": _leaders(model), "task_families": tasks, "matrix": _matrix(model, tasks)}
    yield Page("index.html", "index.html", overview)
    yield Page("boards.html", "boards.html", {"families": tasks}, "boards.html")
    yield Page("methods.html", "methods.html", {"families": methods}, "methods.html")
    yield Page("metrics.html", "metrics.html", {"metrics": _metrics(model)}, "metrics.html")
    yield Page("statistics.html", "statistics.html", {}, "statistics.html")
    for task in model.tasks:
        yield _task(model, task)
    for method in model.method_names:
        yield _method(model, method)


def _leaders(model: Model) -> dict[str, list[tuple[Board, Leaders]]]:
    """The present lite boards that have an order, by family, each with its leaders."""
    found = defaultdict(list)
    for task, boards in model.boards_of.items():
        of_lite = [(board, leaders(board)) for board in boards if board.current and board.budget == "lite"]
        found[model.tasks[task].card.family] += [(board, of) for board, of in of_lite if of.rows]
    return {family: of_family for family, of_family in found.items() if of_family}


def _matrix(model: Model, tasks: dict[str, list[str]]) -> list[dict[str, Any]]:
    """For each family of tasks the methods that fit one of them or have runs on it: one table of all would be empty almost everywhere."""
    found = []
    for family, names in tasks.items():
        methods = [method for method in model.method_names if any(model.runs[method][task] or model.fits(method, task) for task in names)]
        runs = sum(model.runs[method][task] for method in methods for task in names)
        found.append({"family": family, "tasks": names, "methods": methods, "runs": runs})
    return found


def _metrics(model: Model) -> list[tuple[Any, str, str, list[str]]]:
    """Conventions, each with the bounds of its range ("" where there is none) and the tasks that report it."""
    used: dict[str, dict[str, None]] = defaultdict(dict)
    for name, entry in model.tasks.items():
        for key in entry.card.metrics:
            used[parse(key).name][name] = None
    bounds = {name: ["" if math.isinf(bound) else f"{bound:g}" for bound in (of.low, of.high)] for name, of in conventions().items()}
    return [(of, *bounds[name], list(used[name])) for name, of in conventions().items()]


def _task(model: Model, name: str) -> Page:
    entry, boards = model.tasks[name], model.boards_of.get(name, [])
    card = entry.card
    context = {
        "entry": entry,
        "card": card,
        "boards": boards,
        "columns": columns_of((boards[0].primary, *card.metrics), boards[0].columns) if boards else (),
        "data": embedded(task_data(model, name), "board-data") if boards else "",
        "papers": [model.papers_by_number[number] for number in card.papers if number in model.papers_by_number],
        "fitting": model.fitting(name),
        "budgets": {budget: json.dumps(values) for budget, values in entry.budgets().items()},
    }
    return Page(task_url(name), "task.html", context, "boards.html")


def _method(model: Model, name: str) -> Page:
    entry, found = model.methods.get(name), model.rows_of.get(name, [])
    copies, pictures = _pictures(model, name, found)
    curves = _curves(model, found)
    context = {
        "name": name,
        "entry": entry,
        "card": entry.card if entry else None,
        "paper": model.papers_by_number.get(entry.card.paper) if entry else None,
        "results": found,
        "fitting": [task for task in sorted(model.tasks) if model.fits(name, task)],
        "claims": [of for of in model.claims if of.claim.check and name in [side.method for side in of.claim.check.sides]],
        "options": options(entry) if entry else [],
        "pictures": pictures,
        "curves": bool(curves),
        "data": embedded(curves, "curve-data"),
    }
    return Page(method_url(name), "method.html", context, "methods.html", copies)


def _plainest(found: list[tuple[Board, Row]]) -> list[tuple[Board, Row]]:
    """One row of each board: the one with the fewest changed options, the best of these."""
    chosen: dict[tuple[str, str], tuple[Board, Row]] = {}
    for board, row in sorted(found, key=lambda item: (len(item[1].changed), bool(item[1].tuned))):
        chosen.setdefault((board.task, board.budget), (board, row))
    return list(chosen.values())


def _pictures(model: Model, method: str, found: list[tuple[Board, Row]]) -> tuple[dict[str, Path], list[dict[str, str]]]:
    copies, shown = {}, []
    for board, row in _plainest(found):
        for name, file in model.gallery.pictures(row.of.keys):
            url = f"pictures/{slug(method)}/{slug(board.task)}/{slug(board.budget)}/{slug(name)}.png"
            copies[url] = file
            shown.append({"src": url, "name": name, "task": f"{board.task}, {board.budget}"})
    return copies, shown


def _curves(model: Model, found: list[tuple[Board, Row]]) -> list[dict[str, Any]]:
    curves = ((board, model.gallery.curves(row.of.keys)) for board, row in _plainest(found))
    kept = ({"task": f"{board.task}, {board.budget}", "runs": runs} for board, runs in curves if runs)
    return list(itertools.islice(kept, CURVES))


def paper_pages(model: Model) -> Iterator[Page]:
    """The ledger, and a page a paper."""
    by_paper: dict[str, list[Claimed]] = {}
    for entry in model.claims:
        by_paper.setdefault(entry.paper.number, []).append(entry)
    ledger = [_claim(entry) for entry in model.claims]
    context = {"counts": summary(model.claims), "claims": ledger, "n_papers": len(model.papers), "data": embedded(ledger, "claims-data")}
    yield Page("papers.html", "papers.html", context, "papers.html")
    for paper in model.papers:
        yield Page(paper_url(paper.slug), "paper.html", _paper(model, paper, by_paper.get(paper.number, [])), "papers.html")


def _claim(entry: Claimed) -> dict[str, Any]:
    """A claim as a line of the ledger."""
    paper, url = entry.paper, f"{paper_url(entry.paper.slug)}#claim-{entry.number}"
    about = {"number": f"{paper.number}.{entry.number}", "paper": paper.title, "slug": paper.slug, "url": url, "claim": claim_text(entry)}
    found = "; ".join(f"{part.task}: {part_text(part)}" for part in entry.parts)
    return {**about, "status": entry.status, "tested": relation_text(entry.claim.check) if entry.parts else "", "found": found}


def _paper(model: Model, paper: Paper, entries: list[Claimed]) -> dict[str, Any]:
    found = tables.table(paper, model.groups, paths=model.paths) if paper.cells else None
    return {
        "paper": paper,
        "methods": [name for name, entry in model.methods.items() if entry.card.paper == paper.number],
        "claims": entries,
        "table": [_cell(cell) for cell in found.cells] if found else [],
        "budget": found.budget if found else "",
        "notes": tables.notes(found) if found else [],
        "full": tables.at_full(paper, model.groups, model.paths) if paper.full else (),
        "rest": found.rest if found else paper.reported,
    }


def _cell(cell: tables.TableCell) -> tuple[tables.TableCell, str, str]:
    """The cell, and as text what was measured and the difference."""
    if cell.mean is None:
        return cell, "–", "–"
    digits = 4 if abs(cell.mean) < 10 else 2
    bounds = f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" if cell.low is not None else ""
    return cell, f"{cell.mean:.{digits}f}{bounds}", f"{cell.difference:+.{digits}f}"
