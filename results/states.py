"""How far each paper is here, by cards, its file and records alone. Never imports torch.

none   no method of the paper, or its file asks for nothing, or for what does not exist or fit;
code   a method's card names it, all that its file asks for at lite resolves, each method of it has a home, where conformance runs it whole;
runs   and finished lite runs of three seeds or more for each side of its checks, or, where it has none, of its table;
claim  and its first claim has a check, and each check a verdict from records: holds, refuted or undecided. A claim further down may say
       what is missing for it: that is no verdict, and keeps no paper from being judged on the rest;
full   and its budget full resolves and cites the paper for network, data and length; where there is none, ``claim`` is the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.papers import Paper, papers
from elboard.bench.registry import discover, find
from elboard.results.claims import STATUSES, Entry, ledger, summary
from elboard.results.measured import Measurements

if TYPE_CHECKING:
    from elboard.results.store import Group

SEEDS = 3
JUDGED = STATUSES[:3]


def states(groups: Iterable[Group], paths: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """A line for each paper in the order of their numbers; ``claims`` counts them by status, ``methods`` are those whose card names it."""
    methods, known = discover("method", paths), papers()
    measurements = Measurements(groups, paths)
    entries = ledger(measurements, methods, discover("task", paths), known)
    lines = []
    for paper in known:
        own = sorted(name for name, entry in methods.items() if entry.card.paper == paper.number)
        claims = [entry for entry in entries if entry.paper.number == paper.number]
        state = _state(paper, claims, measurements, paths) if own else "none"
        line = {"n": int(paper.number), "slug": paper.slug, "state": state, "title": paper.title, "author": paper.authors.split(",")[0]}
        line |= {"year": paper.year, "kind": paper.kind, "family": paper.family}
        lines.append({**line, "methods": own, "claims": {name: n for name, n in summary(claims).items() if n}})
    return lines


def _state(paper: Paper, claims: Sequence[Entry], measurements: Measurements, paths: tuple[Path, ...]) -> str:
    if not _resolves(paper, "lite", paths):
        return "none"
    sides = paper.compared("lite") or [(cell.task, cell.of) for cell in paper.cells]
    found = [measurements.of(paper, of, task, "lite") for task, of in sides]
    if any(one is None or len(one.runs) < SEEDS for one in found):
        return "code"
    if claims[0].claim.check is None or any(entry.status not in JUDGED for entry in claims if entry.claim.check):
        return "runs"
    return "full" if paper.full and paper.full.complete and _resolves(paper, "full", paths) else "claim"


def _resolves(paper: Paper, budget: str, paths: tuple[Path, ...]) -> bool:
    """Whether the paper asks for something at ``budget``, all of which exists and fits, by methods that have a home task."""
    try:
        for entry in paper.runs(budget):
            resolve(entry["tasks"][0], entry["methods"][0], budget=budget, overrides=entry["set"], paths=tuple(map(str, paths)))
            if not find("method", entry["methods"][0], paths).card.home:
                return False
    except UserError:
        return False
    return True
