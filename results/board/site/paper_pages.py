"""The pages of papers and the ledger of their claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elboard.bench.papers import Paper
from elboard.results import claims, tables
from elboard.results.board.site.embed import embedded
from elboard.results.board.site.model import Model, method_url, paper_url, task_url
from elboard.results.board.site.pages import Page
from elboard.results.claims import Entry, Part, effect_text, relation_text


def paper_pages(model: Model) -> Iterator[Page]:
    """The ledger, and a page a paper."""
    by_paper: dict[str, list[Entry]] = {}
    for entry in model.claims:
        by_paper.setdefault(entry.paper.number, []).append(entry)
    counts = claims.summary(model.claims)
    ledger = [_line(entry) for entry in model.claims]
    context = {"counts": counts, "claims": ledger, "n_papers": len(model.papers), "data": embedded(ledger, "claims-data")}
    yield Page("papers.html", "papers.html", context, "papers.html")
    for paper in model.papers:
        yield Page(paper_url(paper.slug), "paper.html", _paper(model, paper, by_paper.get(paper.number, [])), "papers.html")


def _line(entry: Entry) -> dict[str, Any]:
    """A claim as a line of the ledger."""
    return {
        "number": f"{entry.paper.number}.{entry.number}",
        "paper": entry.paper.title,
        "slug": entry.paper.slug,
        "url": f"{paper_url(entry.paper.slug)}#claim-{entry.number}",
        "claim": entry.claim.text,
        "status": entry.status,
        "tested": relation_text(entry.claim.check) if entry.parts else "",
        "found": "; ".join(f"{part.task}: {effect_text(part)}" for part in entry.parts),
    }


def _paper(model: Model, paper: Paper, entries: list[Entry]) -> dict[str, Any]:
    found = tables.table(paper, model.groups, paths=model.paths) if paper.cells else None
    return {
        "paper": paper,
        "methods": [{"name": name, "url": method_url(name)} for name in model.methods_of_paper(paper.number)],
        "claims": [_claim(entry) for entry in entries],
        "table": [_cell(cell) for cell in found.cells] if found else [],
        "budget": found.budget if found else "",
        "notes": tables.notes(found) if found else [],
        "rest": found.rest if found else paper.reported,
    }


def _claim(entry: Entry) -> dict[str, Any]:
    check = entry.claim.check
    return {
        "number": entry.number,
        "text": entry.claim.text,
        "status": entry.status,
        "note": entry.note,
        "relation": relation_text(check) if check else "",
        "budget": check.budget if check else "",
        "because": check.because if check else "",
        "methods": [{"name": side.label, "url": method_url(side.method)} for side in (check.sides if check else ())],
        "parts": [_part(part) for part in entry.parts],
    }


def _part(part: Part) -> dict[str, Any]:
    note = part.note if part.effect is not None else ""
    return {**vars(part), "url": task_url(part.task), "text": effect_text(part), "note": note, "records": part.keys}


def _cell(cell: tables.TableCell) -> dict[str, Any]:
    digits = 4 if cell.mean is not None and abs(cell.mean) < 10 else 2
    bounds = f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" if cell.low is not None else ""
    return {
        **vars(cell),
        "published": f"{cell.published.value}",
        "verified": cell.published.verified,
        "url": task_url(cell.task),
        "measured": "–" if cell.mean is None else f"{cell.mean:.{digits}f}{bounds}",
        "difference": "–" if cell.difference is None else f"{cell.difference:+.{digits}f}",
        "margin": "–" if cell.margin is None else f"± {cell.margin:g}",
        "note": cell.note or cell.why,
    }
