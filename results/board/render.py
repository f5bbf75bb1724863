"""Boards as text: terminal tables, Markdown, CSV, JSON, LaTeX."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from bench.metrics.conventions import bare, parse
from results.board.build import Board, Row, arrow
from results.stats import Cell

if TYPE_CHECKING:
    from rich.table import Table

FORMATS = ("table", "md", "csv", "json", "latex")


def number(cell: Cell | None, plus_minus: str = "±") -> str:
    """``mean ± half-width`` with digits that the interval supports; an absent cell is a dash."""
    if cell is None:
        return "–"
    half = cell.half or 0.0
    reference = half if half > 0 else abs(cell.mean) / 1000
    digits = 4
    while digits > 0 and reference >= 2 * 10 ** (1 - digits):
        digits -= 1
    text = f"{cell.mean:.{max(digits, 1)}f}"
    return f"{text} {plus_minus} {half:.{max(digits, 1)}f}" if cell.half is not None else text


def caption(board: Board) -> str:
    """What the numbers are: the mean over what varies, and the interval."""
    repeated = any(len(row.seeds) > 1 for row in board.rows)
    text = f"mean over {board.varies}" + (", ± 95 % interval" if repeated else "; one repetition has no interval")
    failed = sum(row.failed for row in board.rows)
    return text + (f"; {failed} failed run{'s' if failed > 1 else ''} left out" if failed else "")


def heading(board: Board) -> str:
    """``task (version, budget): title``."""
    return f"{board.task} v{board.version}, {board.budget}: {board.title}"


def short_names(columns: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Headings for narrow places, ``fid¹`` for ``fid[mnist-cnn,n=5000]``, by column, and the notes that the marks stand for."""
    notes = list(dict.fromkeys(parse(key).parameters for key in columns if parse(key).parameters))
    marks = {parameters: "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(i)) for i, parameters in enumerate(notes, 1)}
    names = {key: bare(key) + marks.get(parse(key).parameters, "") for key in columns}
    return names, "; ".join(f"{mark} {parameters}" for parameters, mark in marks.items())


def table(board: Board) -> Table:
    """A rich table for the terminal."""
    from rich import box
    from rich.table import Table

    names, notes = short_names(board.columns)
    below = "\n".join(filter(None, (caption(board), notes)))
    out = Table(title=heading(board), caption=below, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for name in ("#", "method", "n"):
        out.add_column(name, justify="left" if name == "method" else "right", no_wrap=name != "method")
    for key in board.columns:
        out.add_column(f"{names[key]} {arrow(key)}".strip(), justify="right", style="bold" if key == board.primary else "", overflow="fold")
    out.add_column("wall s", justify="right")
    for place, row in enumerate(board.rows, 1):
        out.add_row(*_cells(place, row, board), f"{row.wall_s:.1f}")
    return out


def _cells(place: int, row: Row, board: Board, plus_minus: str = "±") -> list[str]:
    return [
        str(place) if board.primary in row.cells else "–",
        row.label,
        str(len(row.seeds)),
        *(number(row.cells.get(key), plus_minus) for key in board.columns),
    ]


def markdown(board: Board) -> str:
    """A Markdown table."""
    head = ["#", "method", "n", *(f"{key} {arrow(key)}".strip() for key in board.columns)]
    lines = [
        f"**{heading(board)}**",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "|".join(["---:", "---", *["---:"] * (len(head) - 2)]) + "|",
    ]
    lines += [
        "| " + " | ".join(text.replace("|", "\\|") for text in _cells(place, row, board)) + " |" for place, row in enumerate(board.rows, 1)
    ]
    return "\n".join([*lines, "", caption(board), ""])


def latex(board: Board) -> str:
    """A booktabs table."""
    plain = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}

    def escape(text: str) -> str:
        return "".join(plain.get(character, character) for character in text)

    head = ["", "method", "$n$", *(escape(f"{key} {arrow(key)}".strip()) for key in board.columns)]
    body = [" & ".join(_escape_cells(_cells(place, row, board, r"$\pm$"), escape)) + r" \\" for place, row in enumerate(board.rows, 1)]
    return "\n".join(
        [
            f"% {heading(board)}; {caption(board)}",
            r"\begin{tabular}{rlr" + "r" * len(board.columns) + "}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _escape_cells(cells: list[str], escape: Any) -> list[str]:
    return [cells[0], escape(cells[1]), *(cell.replace("–", "--") for cell in cells[2:])]


def flat(boards: list[Board]) -> list[dict[str, Any]]:
    """One dict for each cell: what CSV and JSON hold."""
    return [
        {
            "task": board.task,
            "version": board.version,
            "budget": board.budget,
            "place": place,
            "method": row.method,
            "changed": json.dumps(row.changed, sort_keys=True) if row.changed else "",
            "metric": key,
            "primary": key == board.primary,
            "mean": cell.mean,
            "half_width_95": cell.half,
            "n": cell.n,
            "seeds": " ".join(map(str, row.seeds)),
            "varies": board.varies,
            "wall_s": row.wall_s,
            "keys": " ".join(row.keys),
        }
        for board in boards
        for place, row in enumerate(board.rows, 1)
        for key, cell in row.cells.items()
    ]


def render(boards: list[Board], kind: str) -> str:
    """All ``boards`` as text in the format ``kind``: md, csv, json or latex."""
    if kind == "json":
        return json.dumps(flat(boards), indent=1) + "\n"
    if kind == "csv":
        rows, out = flat(boards), io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["task"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()
    return "\n".join({"md": markdown, "latex": latex}[kind](board) for board in boards)
