"""Published tables beside what is measured here: one verdict a cell, and all numbers that have no measurement yet.

A cell whose data are the paper's is ``reproduced`` if the 90 % interval of measured - published lies within the margin (two one-sided tests
at 5 %), ``differs`` if the 95 % interval lies wholly outside it, else ``underpowered``; intervals are Student's over seeds, and the
published number counts as exact. Cells with other data never get a verdict. All numbers of a cell are in the published number's unit.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.metrics.conventions import bare, ceiling, saturated
from elboard.bench.papers import Mapped, Paper, Reported
from elboard.results import forecast, markup
from elboard.results.measured import ALIKE, Measurements, equivalence, estimate, metric_key
from elboard.results.stats.groups import EXACT

if TYPE_CHECKING:
    from elboard.results.store import Group

FORMATS = ("table", "md", "latex", "json", "html")
LEFT = ("row", "column", "verdict")
HEAD = ("row", "column", "published", "measured", "n", "difference", "verdict")
_PLAIN = {"equal": "reproduced", "different": "differs", "open": "underpowered"}


@dataclass(frozen=True)
class TableCell:
    """A published number and its measurement.

    Attributes:
        number: the published number; ``published`` has its source and confidence.
        method, task, metric: what was measured; the metric's full key where it was.
        mean, low, high: of the measured values, 95 % interval; None where not run, bounds None for one seed.
        difference: measured - published.
        margin: half-width of equivalence; None for other data.
        why: what differs from the paper's setting; ``note``: what a verdict lacks.
    """

    row: str
    column: str
    published: Reported
    number: float
    method: str
    task: str
    metric: str
    verdict: str
    same_data: bool
    why: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    difference: float | None = None
    margin: float | None = None
    note: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperTable:
    """The cells of a paper at a budget; ``rest``: its published numbers without a measurement here; ``full``: what full is
    and what it would cost."""

    paper: Paper
    budget: str
    cells: tuple[TableCell, ...]
    rest: tuple[Reported, ...]
    full: tuple[str, ...] = ()


def judge(values: list[float], published: float, margin: float) -> tuple[str, str]:
    """Verdict on measured ``values`` against a ``published`` number, all in one unit, and a note where it is open."""
    if len(values) < 2:
        return "underpowered", "one seed has no interval"
    found = estimate(values, published)
    if found.error == 0 and len(values) < EXACT:
        return "underpowered", ALIKE
    return _PLAIN[equivalence(found, margin)], ""


def table(paper: Paper, groups: Iterable[Group], budget: str = "", paths: tuple[Path, ...] = ()) -> PaperTable:
    """The table of ``paper`` from ``groups`` of records, at ``budget`` (the paper file's if empty).

    Raises UserError for a cell whose method, task or options do not exist.
    """
    groups, chosen = list(groups), budget or paper.budget
    measurements = Measurements(groups, paths)
    cells = tuple(_cell(mapped, paper, chosen, measurements) for mapped in paper.cells)
    used = {mapped.published for mapped in paper.cells}
    rest, full = tuple(entry for entry in paper.reported if entry not in used), at_full(paper, groups, paths) if chosen == "full" else ()
    return PaperTable(paper, chosen, cells, rest, full)


def at_full(paper: Paper, groups: Iterable[Group], paths: tuple[Path, ...] = ()) -> tuple[str, ...]:
    """Whether the budget full is the paper's own network, data and length, and what the runs that it lacks would cost."""
    if not paper.asked("full"):
        return tuple(paper.full.lines()) if paper.full else ("no runs at full: the file of the paper asks for none",)
    groups = list(groups)
    missing, ever = forecast.of_paper(paper, groups, paths), any(group.budget == "full" for group in _of(paper, groups))
    if not missing:
        return tuple(paper.full.lines())
    said = f"{len(missing)} runs not done here yet" if ever else "never run here"
    cost = f"{forecast.hours(missing, 'CPU-hours')} by extrapolation from lite ({forecast.ASSUMED})"
    if all(seconds is None for seconds in missing):
        cost = "its cost is unknown: no lite runs of the present versions are here to extrapolate from"
    return (*paper.full.lines(), f"{said}, {cost}")


def _of(paper: Paper, groups: Iterable[Group]) -> list[Group]:
    asked = {(task, of.method) for task, of in paper.asked("full")}
    return [group for group in groups if (group.task, group.method) in asked and group.n]


def _cell(mapped: Mapped, paper: Paper, budget: str, measurements: Measurements) -> TableCell:
    of, number = mapped.of, mapped.published.number
    same_data, why = mapped.setting(budget)
    margin = paper.margins[mapped.metric][0] if same_data else None
    about = {"row": mapped.row, "column": mapped.column, "published": mapped.published, "number": number, "method": of.label}
    about |= {"task": mapped.task, "same_data": same_data, "why": why, "margin": margin}
    found = measurements.of(paper, of, mapped.task, budget)
    key = metric_key(mapped.metric, [found.metrics]) if found else None
    if key is None:
        return TableCell(**about, metric=mapped.metric, verdict="not run")
    by_seed = found.metrics[key]
    values = [mapped.scale * value for value in by_seed.values()]
    mean = math.fsum(values) / len(values)
    low, high = estimate(values).interval(0.95) if len(values) > 1 else (None, None)
    verdict, note = judge(values, number, margin) if margin is not None else ("different data", "")
    numbers = {"mean": mean, "low": low, "high": high, "n": len(values), "difference": mean - number}
    if saturated(key, mean / mapped.scale):
        verdict, note = "different data" if margin is None else "underpowered", f"a bound: its estimator is at most {ceiling(key):.2f}"
    return TableCell(**about, **numbers, metric=key, verdict=verdict, note=note, keys=found.keys(by_seed))


def published_text(entry: Reported) -> str:
    """The number as published; said to be unverified where it was not read at its source."""
    return f"{entry.value}" if entry.verified else f"{entry.value} (unverified)"


def _digits(cell: TableCell) -> int:
    """Decimals that show two digits of the interval's half-width, at most four; those of a thousandth of the mean without one."""
    half = (cell.high - cell.low) / 2 if cell.low is not None else 0.0
    reference = half or abs(cell.mean) / 1000
    return min(4, max(1, 1 - math.floor(math.log10(reference)))) if reference > 0 else 1


def _texts(cell: TableCell) -> list[str]:
    """The cell under HEAD, as plain text."""
    measured = difference = "–"
    if cell.mean is not None:
        digits = _digits(cell)
        measured = f"{cell.mean:.{digits}f}" + (f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" if cell.low is not None else "")
        difference = f"{cell.difference:+.{digits}f}"
    verdict = f"{cell.verdict}: {cell.note}" if cell.note else cell.verdict
    return [cell.row, cell.column, published_text(cell.published), measured, str(cell.n), difference, verdict]


def _rest_texts(entry: Reported) -> list[str]:
    column = f"{entry.table}, {entry.dataset}, {entry.metric}"
    return [entry.method, column, published_text(entry), "–", "0", "–", "no method or data here yet"]


def heading(found: PaperTable) -> str:
    """``021 Importance Weighted Autoencoders (ICLR 2016), lite``."""
    return f"{found.paper.number} {found.paper.title} ({found.paper.venue}), {found.budget}"


def notes(found: PaperTable) -> list[str]:
    """What the numbers are, the margins, and what differs from the paper, each once."""
    lines = ["measured: mean over seeds [95 % interval]; difference: measured - published, in the published number's unit"]
    used = {bare(cell.metric) for cell in found.cells if cell.same_data}
    lines += found.full
    lines += [f"margin of {name}: {value:g}, {why}" for name, (value, why) in found.paper.margins.items() if name in used]
    for why in dict.fromkeys(cell.why for cell in found.cells):
        columns = dict.fromkeys(f"{cell.row} ({cell.column})" for cell in found.cells if cell.why == why)
        whose = "all cells" if len(columns) == len(found.cells) else ", ".join(columns)
        lines.append(f"{whose}: {why}")
    if any(not entry.verified for entry in found.paper.reported):
        lines.append("unverified: the published number was not read again at its source")
    return lines


def _rows(found: PaperTable) -> list[list[str]]:
    return [*map(_texts, found.cells), *map(_rest_texts, found.rest)]


def terminal(found: PaperTable, width: int = 0) -> str:
    """The table as lines of at most ``width`` columns, 0 for any; columns that do not fit are named, ``n`` first."""
    order = sorted(range(len(HEAD)), key=lambda place: HEAD[place] == "n")
    head, *rows = ([row[place] for place in order] for row in (HEAD, *_rows(found)))
    lines, hidden = markup.plain(head, rows, width, [name for name in HEAD if name not in LEFT], folded=10)
    folded = [line for note in notes(found) for line in markup.fold(note, width, others="  ")]
    return "\n".join([*markup.fold(heading(found), width), "", *lines, "", *folded, *markup.hidden_text(hidden, width), ""])


def flat(found: PaperTable) -> dict[str, Any]:
    """What JSON holds: a dict for each cell, those without a measurement too."""
    from dataclasses import asdict

    paper = found.paper
    margins = {name: {"value": value, "why": why} for name, (value, why) in paper.margins.items()}
    about = {"paper": paper.number, "slug": paper.slug, "title": paper.title, "budget": found.budget, "margins": margins}
    cells = [{**asdict(cell), "keys": list(cell.keys)} for cell in found.cells]
    about |= {"full": list(found.full)}
    return {**about, "cells": cells, "not_measured": [asdict(entry) for entry in found.rest]}


def render(found: PaperTable, kind: str) -> str:
    """The table as text in the format ``kind``: md, latex, json or html."""
    title, rows, said = heading(found), _rows(found), notes(found)
    if kind == "json":
        return json.dumps(flat(found), indent=1, ensure_ascii=False) + "\n"
    if kind == "md":
        return "\n".join([f"**{title}**", "", *markup.markdown(HEAD, rows, LEFT), "", *(f"- {note}" for note in said), ""])
    if kind == "latex":
        return markup.latex("llrrrrl", HEAD, [list(map(markup.tex, row)) for row in rows], (title, *said))
    return markup.html(title, HEAD, rows) + f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in said)}</ul>\n"
