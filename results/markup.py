"""Tables as text: what goes in is plain, what comes out is escaped. Columns stand to the right but for those named as ``left``."""

from __future__ import annotations

import html as markup
import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

TEX = {character: "\\" + character for character in "_%&#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "–": "--",
    "±": r"$\pm$",
    "≥": r"$\geq$",
}
TEX |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}


def finite(tree: Any) -> Any:
    """``tree`` with None in place of NaN and infinity, which JSON lacks."""
    if isinstance(tree, dict):
        return {str(name): finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def frame(title: str, below: str) -> Table:
    """A rich table for the terminal, without columns."""
    from rich import box
    from rich.table import Table

    return Table(title=title, caption=below, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[str]) -> list[str]:
    """The lines of a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        escaped = (text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>") for text in cells)
        return "| " + " | ".join(escaped) + " |"

    return [line(head), "|" + "|".join("---" if name in left else "---:" for name in head) + "|", *map(line, rows)]


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
