"""Everything that the pages show, collected once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from elboard.bench.card import fits
from elboard.bench.registry import Entry, discover
from elboard.results.backfill import filled
from elboard.results.badges import badges
from elboard.results.board.build import Board, Choice, Row, boards
from elboard.results.board.site.embed import slug
from elboard.results.board.site.gallery import Gallery
from elboard.results.store import Group, groups, homes

BUDGETS = ("lite", "full", "smoke")  # in the order in which a task's boards are shown


@dataclass(frozen=True)
class Model:
    """Cards, boards, papers and claims, and the files of runs.

    Attributes:
        boards: of all tasks, versions and budgets, with every metric and the ranks of each that has a direction.
        papers: :class:`elboard.bench.papers.Paper` of all papers.
        claims: entries of the ledger (:func:`elboard.results.claims.ledger`).
    """

    groups: list[Group]
    boards: list[Board]
    methods: dict[str, Entry]
    tasks: dict[str, Entry]
    papers: Sequence[Any]
    claims: Sequence[Any]
    gallery: Gallery
    paths: tuple[Path, ...] = ()

    @cached_property
    def boards_of(self) -> dict[str, list[Board]]:
        """Boards by task: present version first, then in the order of BUDGETS."""
        found: dict[str, list[Board]] = defaultdict(list)
        for board in self.boards:
            found[board.task].append(board)
        for of_task in found.values():
            of_task.sort(key=lambda board: (not board.current, -board.version, _order(board.budget)))
        return dict(found)

    @cached_property
    def rows_of(self) -> dict[str, list[tuple[Board, Row]]]:
        """Rows of the present boards by method."""
        found: dict[str, list[tuple[Board, Row]]] = defaultdict(list)
        for of_task in self.boards_of.values():
            for board in of_task:
                for row in board.rows if board.current else ():
                    found[row.method].append((board, row))
        return dict(found)

    @cached_property
    def runs(self) -> Counter[tuple[str, str]]:
        """Finished runs by (task, method), of the present versions."""
        counted: Counter[tuple[str, str]] = Counter()
        for method, found in self.rows_of.items():
            for board, row in found:
                counted[board.task, method] += row.n
        return counted

    @cached_property
    def method_names(self) -> list[str]:
        """Methods with a card by family, then those that only records know."""
        known = sorted(self.methods, key=lambda name: (self.methods[name].card.family, name))
        return known + sorted(set(self.rows_of) - set(self.methods))

    @property
    def n_records(self) -> int:
        """Runs with a record that counts."""
        return sum(group.n + group.failed for group in self.groups)

    def fits(self, method: str, task: str) -> bool:
        """Whether the cards say that ``method`` can run on ``task``."""
        return method in self.methods and fits(self.methods[method].card, self.tasks[task].card)

    def methods_of_paper(self, number: str) -> list[str]:
        """Methods whose card names the paper ``number``."""
        return [name for name in self.method_names if name in self.methods and self.methods[name].card.paper == number]


def _order(budget: str) -> tuple[int, str]:
    return (BUDGETS.index(budget) if budget in BUDGETS else len(BUDGETS), budget)


def collect(root: Path | None, shipped: bool, paths: tuple[Path, ...] = ()) -> Model:
    """Read the records under ``root``, with ``shipped`` those of the package too, and all that pages say of them."""
    from elboard.bench.papers import papers
    from elboard.results.claims import ledger
    from elboard.results.measured import Measurements

    methods, tasks = discover("method", paths), discover("task", paths)
    found, known = filled(groups(root, shipped), root, shipped), papers()
    choice, trust = Choice(metrics=("all",), old=True, rank_all=True), badges(root, shipped)
    kept_in = root / homes.FOLDER if root is not None and root.is_dir() else None
    with ThreadPoolExecutor() as pool:  # NumPy, where most of the time goes, runs beside other threads
        names = sorted({entry.card.family for entry in tasks.values()})
        built = [board for part in pool.map(lambda family: boards(found, family, paths, choice, trust, kept_in), names) for board in part]
    claims = ledger(Measurements(found, paths), methods, tasks, known)
    return Model(found, built, methods, tasks, known, claims, Gallery(root, shipped), paths)


def method_url(name: str) -> str:
    """Address of a method's page from the root of the site."""
    return f"methods/{slug(name)}.html"


def task_url(name: str) -> str:
    """Address of a task's board from the root of the site."""
    family, _, rest = name.partition("/")
    return f"tasks/{slug(family)}-{slug(rest)}.html" if "-" not in family else f"tasks/{slug(name)}.html"


def paper_url(paper_slug: str) -> str:
    """Address of a paper's page from the root of the site."""
    return f"papers/{slug(paper_slug)}.html"


def families(names: Iterable[str], entries: dict[str, Entry]) -> dict[str, list[str]]:
    """``names`` by the family of their cards; those without a card last, under "no card"."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[entries[name].card.family if name in entries else "no card"].append(name)
    return dict(found)
