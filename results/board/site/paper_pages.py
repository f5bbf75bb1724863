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
    paper, url = entry.paper, f"{paper_url(entry.paper.slug)}#claim-{entry.number}"
    about = {"number": f"{paper.number}.{entry.number}", "paper": paper.title, "slug": paper.slug, "url": url, "claim": entry.claim.text}
    found = "; ".join(f"{part.task}: {effect_text(part)}" for part in entry.parts)
    return {**about, "status": entry.status, "tested": relation_text(entry.claim.check) if entry.parts else "", "found": found}


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
    methods = [{"name": side.label, "url": method_url(side.method)} for side in (check.sides if check else ())]
    tested = {"relation": "", "budget": "", "because": ""}
    if check:
        tested = {"relation": relation_text(check), "budget": check.budget, "because": check.because}
    about = {"number": entry.number, "text": entry.claim.text, "status": entry.status, "note": entry.note}
    return {**about, **tested, "methods": methods, "parts": [_part(part) for part in entry.parts]}


def _part(part: Part) -> dict[str, Any]:
    note = part.note if part.effect is not None else ""
    return {**vars(part), "url": task_url(part.task), "text": effect_text(part), "note": note, "records": part.keys}


def _cell(cell: tables.TableCell) -> dict[str, Any]:
    digits = 4 if cell.mean is not None and abs(cell.mean) < 10 else 2
    bounds = f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" if cell.low is not None else ""
    shown = {
        "measured": "–" if cell.mean is None else f"{cell.mean:.{digits}f}{bounds}",
        "difference": "–" if cell.difference is None else f"{cell.difference:+.{digits}f}",
        "margin": "–" if cell.margin is None else f"± {cell.margin:g}",
    }
    published = {"published": f"{cell.published.value}", "verified": cell.published.verified}
    return {**vars(cell), **published, **shown, "url": task_url(cell.task), "note": cell.note or cell.why}
