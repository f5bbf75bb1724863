"""Tables as text: what goes in is plain, what comes out is escaped. Columns stand to the right but for those named as ``left``."""

from __future__ import annotations

import html as markup
import itertools
import math
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any

GAP = 2  # between two columns of a plain table
TEX = {character: "\\" + character for character in "_%&#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "–": "--",
    "±": r"$\pm$",
    "≥": r"$\geq$",
}
TEX |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}


MARKDOWN = {"\\": "\\\\", "|": "\\|", "<": "&lt;", "&": "&amp;", "*": "\\*", "`": "\\`", "\n": "<br>"}  # brackets stay: links have "]("


def finite(tree: Any) -> Any:
    """``tree`` with None in place of NaN and infinity, which JSON lacks."""
    if isinstance(tree, dict):
        return {str(name): finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def fold(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    """``text`` in lines of at most ``width`` columns, 0 for any, that begin with ``first`` and ``others``; no word is broken."""
    if not width:
        return [first + text]
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False)


def plain(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int = 0, right: Collection[str] = (), folded: int = 24
) -> tuple[list[str], list[str]]:
    """The lines of a table, and the columns that are not in it: those at the right that ``width`` columns, 0 for any, have no room for.

    Texts are folded at their spaces, down to ``folded`` columns; no word is broken. The first column is always there, those named ``right``
    stand to the right. Not rich's table: that takes 0.3 s for a hundred rows, and listings are to be instant.
    """
    columns = [[name, *(row[place] for row in rows)] for place, name in enumerate(head)]
    least = [max(min(max(map(len, texts)), folded), *(len(word) for text in texts for word in text.split())) for texts in columns]
    count = len(columns)
    while width and count > 1 and sum(least[:count]) + GAP * (count - 1) > width:
        count -= 1
    widths = [max(map(len, texts)) for texts in columns[:count]]
    while width and sum(widths) + GAP * (count - 1) > width and any(map(int.__gt__, widths, least)):
        widest = max(range(count), key=lambda place: (widths[place] > least[place], widths[place]))
        widths[widest] -= 1
    lines = []
    for row in (head[:count], ["-" * one for one in widths], *(row[:count] for row in rows)):
        parted = [fold(cell, one) or [""] for cell, one in zip(row, widths, strict=True)]
        for parts in itertools.zip_longest(*parted, fillvalue=""):
            cells = [part.rjust(one) if name in right else part.ljust(one) for part, one, name in zip(parts, widths, head, strict=False)]
            lines.append((" " * GAP).join(cells).rstrip())
    return lines, list(head[count:])


def hidden_text(hidden: Sequence[str], width: int) -> list[str]:
    """The lines that name the columns ``hidden`` of a plain table; none for none."""
    return fold(f"not in {width} columns: {', '.join(hidden)}; all are in a wider terminal, or a pipe: | less -S", width) if hidden else []


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[str]) -> list[str]:
    """The lines of a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join("".join(MARKDOWN.get(letter, letter) for letter in text).replace("](", "]\\(") for text in cells) + " |"

    return [line(head), "|" + "|".join("---" if name in left else "---:" for name in head) + "|", *map(line, rows)]


def cell(value: Any) -> Any:
    """``value`` as a cell of CSV: a text that a spreadsheet would compute stays one, by an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def tex(text: str) -> str:
    """``text`` with everything that LaTeX would act on escaped."""
    escaped = "".join(TEX.get(character, character) for character in text)
    return "{}" + escaped if text.startswith("[") else escaped  # else it would be an argument of the \\ before it


def latex(columns: str, head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str]) -> str:
    """A table of cells that are LaTeX (:func:`tex`), below ``notes`` as comments; needs the package booktabs."""
    top, *body = (" & ".join(cells) + r" \\" for cells in (head, *rows))
    start = [*(f"% {line}" for text in notes for line in text.splitlines()), rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*start, top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def html(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table element; what the last cell of a row says before a colon is also its class."""

    def line(tag: str, cells: Sequence[str], last: str = "") -> str:
        texts = [markup.escape(text) for text in cells]
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts[:-1]) + f"<{tag}{last}>{texts[-1]}</{tag}></tr>"

    body = [line("td", row, f' class="{markup.escape(row[-1].partition(":")[0].replace(" ", "-"))}"') for row in rows]
    top = ["<table>", f"<caption>{markup.escape(title)}</caption>", f"<thead>{line('th', head)}</thead>", "<tbody>"]
    return "\n".join([*top, *body, "</tbody>", "</table>", ""])
