"""Boards as text: Markdown, CSV, JSON, LaTeX, HTML."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from elboard.bench.metrics.conventions import bare, ceiling, count, parse, saturated
from elboard.results import markup
from elboard.results.board.build import Board, Row, arrow
from elboard.results.stats import Cell

FORMATS = ("table", "md", "csv", "json", "latex", "html")
LARGE = 1e6  # from which on numbers are written with an exponent
SIGNS = {"re-run": "◆ re-run", "recomputed": "◇ recomputed", "claimed": "claimed", "disputed": "✗ disputed"}


def number(cell: Cell | None, plus_minus: str = "±", key: str = "") -> str:
    """``mean ± half-width`` with digits that the interval supports; an absent cell is a dash, one of ``key`` that is saturated a bound.

    Of an interval that is not symmetric about the mean the larger side is shown. Millions and more have an exponent.
    """
    if cell is None:
        return "–"
    half = 0.0 if cell.low is None else max(cell.high - cell.mean, cell.mean - cell.low)
    reference = half if half > 0 else abs(cell.mean) / 1000
    digits = 4
    while digits > 0 and reference >= 2 * 10 ** (1 - digits):
        digits -= 1
    form = ".1e" if max(abs(cell.mean), half) >= LARGE else f".{max(digits, 1)}f"
    text = f"{cell.mean:{form}}"
    if key and saturated(key, cell.mean):
        return f"≥ {text}"
    return f"{text} {plus_minus} {half:{form}}" if cell.low is not None else text


def rank_text(row: Row, key: str) -> str:
    """The range of ranks of ``row`` by ``key``, ``1–3``; "undecided" where it may be among the best or among those known to be worse."""
    at = row.ranks.get(key)
    if at is None:
        return "–"
    return "undecided" if at.state == "undecided" else str(at.low) if at.low == at.high else f"{at.low}–{at.high}"


def caption(board: Board) -> str:
    """What the numbers are: the mean over what varies, the interval and how it was found, what ranks mean."""
    cells = [cell for row in board.rows for cell in row.cells.values()]
    kinds = [
        f"{name} for {when}"
        for kind, name, when in (("t", "Student t", "n < 6"), ("bootstrap", "bootstrap", "n >= 6"))
        if any(cell.kind == kind for cell in cells)
    ]
    text = f"mean over {board.varies}" + (f", ± 95 % interval ({', '.join(kinds)})" if kinds else "; one repetition has no interval")
    shown = [row.ranks[board.primary].state for row in board.rows if board.primary in row.ranks]
    text += "; ranks: what the paired tests leave open (moderated t, Holm, 5 %)" if {"top", "worse"} & {*shown} else ""
    text += "; undecided: not told from the best, nor from those known to be worse" if "undecided" in shown else ""
    bounded = [key for key in board.columns if math.isfinite(ceiling(key))]
    full = [key for key in bounded if any(saturated(key, row.cells[key].mean) for row in board.rows if key in row.cells)]
    text += "".join(f"; ≥: saturated, {key} is at most {ceiling(key):.2f}" for key in full)
    handed = sorted({row.oracle for row in board.rows if row.oracle})
    text += f"; [oracle]: is handed {', '.join(handed)}, not ranked" if handed else ""
    failed = sum(row.of.failed for row in board.rows)
    return text + (f"; {failed} failed run{'s' if failed > 1 else ''} left out" if failed else "")


def heading(board: Board) -> str:
    """``task (version, budget): title``."""
    return f"{board.task} v{board.version}{'' if board.current else ' (old)'}, {board.budget}: {board.title}"


def of_examples(board: Board, key: str) -> str:
    """`` (of 500)`` where columns of ``board`` are of different numbers of examples and ``key`` does not say its own; else nothing."""
    return f" (of {board.examples_said[key]})" if key in board.examples else ""


def short_names(columns: Iterable[str], examples: Mapping[str, str] = MappingProxyType({})) -> tuple[dict[str, str], str]:
    """Headings for narrow places, ``fd¹`` for ``fd[mnist-cnn,n=5000]``, by column, and the notes that the marks stand for; of those of
    ``examples`` the number."""
    said = {key: parse(key).parameters or (f"of {examples[key]}" if key in examples else "") for key in columns}
    notes = list(dict.fromkeys(filter(None, said.values())))
    marks = {parameters: "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(i)) for i, parameters in enumerate(notes, 1)}
    names = {key: bare(key) + marks.get(note, "") for key, note in said.items()}
    return names, "; ".join(f"{mark} {parameters}" for parameters, mark in marks.items())


def amount(value: float | None) -> str:
    """A count in short: ``421642`` -> ``422 k``."""
    if value is None:
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _costs(row: Row, energy: bool) -> list[str]:
    wall, parameters, joules = row.cost.get("wall_s"), row.cost.get("parameters"), row.cost.get("energy_j")
    return ["–" if wall is None else f"{wall:.1f}", amount(parameters), *([amount(joules)] if energy else [])]


def _cells(row: Row, board: Board, plus_minus: str = "±") -> list[str]:
    return [rank_text(row, board.primary), row.label, str(row.n), *(number(row.cells.get(key), plus_minus, key) for key in board.columns)]


def _head(board: Board) -> list[str]:
    return ["#", "method", "n", *_metrics(board), "wall s", "parameters", "options", "verified"]


def _metrics(board: Board) -> list[str]:
    return [f"{key}{of_examples(board, key)} {arrow(key)}".strip() for key in board.columns]


def _full(row: Row, board: Board) -> list[str]:
    return [*_cells(row, board), *_costs(row, False), row.tuning.words, row.badge]


def markdown(board: Board) -> str:
    """A Markdown table."""
    lines = markup.markdown(_head(board), [_full(row, board) for row in board.rows], ("method", "options", "verified"))
    return "\n".join([f"**{heading(board)}**", "", *lines, "", caption(board), ""])


def html(board: Board) -> str:
    """A plain HTML table, everything escaped."""
    return markup.html(f"{heading(board)}. {caption(board)}", _head(board), [_full(row, board) for row in board.rows])


def latex(board: Board) -> str:
    """A booktabs table; of each metric the top group is bold, which undecided rows do not belong to. How options were found is in notes."""
    head = ["", "method", "$n$", *map(markup.tex, _metrics(board))]
    body = []
    for row in board.rows:
        cells = list(map(markup.tex, _cells(row, board)))
        best = [key in row.ranks and row.ranks[key].state == "top" for key in board.columns]
        body.append(cells[:3] + [rf"\textbf{{{text}}}" if bold else text for text, bold in zip(cells[3:], best, strict=True)])
    by_words = {words: [row.label for row in board.rows if row.tuning.words == words] for words in [row.tuning.words for row in board.rows]}
    options = [f"options, {words}: {', '.join(labels)}" for words, labels in by_words.items()]
    notes = [f"{heading(board)}; {caption(board)}", *options]
    return markup.latex("rlr" + "r" * len(board.columns), head, body, notes)


def flat(boards: list[Board]) -> list[dict[str, Any]]:
    """One dict for each cell: what CSV and JSON hold."""
    return [
        {
            "task": board.task,
            "version": board.version,
            "budget": board.budget,
            **{f"rank_{end}": getattr(row.ranks.get(key), end, None) for end in ("low", "high")},
            "state": getattr(row.ranks.get(key), "state", None),
            "method": row.method,
            "oracle": row.oracle,
            "changed": json.dumps(row.changed, sort_keys=True) if row.changed else "",
            "options": row.tuning.words,
            "trials": row.tuning.trials,
            "search_s": row.tuned.get("wall_s"),
            "metric": key,
            "primary": key == board.primary,
            "examples": f"{count(key):,}" if count(key) else "" if row.of_its_own else board.examples.get(key, ""),
            "saturated": saturated(key, cell.mean),
            **{"mean": cell.mean, "sd": cell.sd, "low_95": cell.low, "high_95": cell.high, "interval": cell.kind},
            **{"minimum": cell.minimum, "maximum": cell.maximum, "n": cell.n},
            "seeds": " ".join(map(str, row.seeds)),
            "varies": board.varies,
            **{name: row.cost.get(name) for name in ("wall_s", "parameters", "energy_j")},
            "badge": row.badge,
            "keys": " ".join(row.of.keys),
        }
        for board in boards
        for row in board.rows
        for key, cell in row.cells.items()
    ]


def render(boards: list[Board], kind: str) -> str:
    """All ``boards`` as text in the format ``kind``: md, csv, json, latex or html."""
    if kind == "json":
        return json.dumps(markup.finite(flat(boards)), indent=1, allow_nan=False) + "\n"
    if kind == "csv":
        rows, out = flat(boards), io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["task"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: markup.cell(value) for name, value in row.items()} for row in rows)
        return out.getvalue()
    return "\n".join({"md": markdown, "latex": latex, "html": html}[kind](board) for board in boards)
