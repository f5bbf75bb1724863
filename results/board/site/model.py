"""Everything that the pages show, collected once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elboard.bench.card import fits
from elboard.bench.papers import Paper, papers
from elboard.bench.registry import Entry, discover
from elboard.results import claims
from elboard.results.backfill import filled
from elboard.results.board.build import Board, Choice, Row, boards
from elboard.results.board.site.embed import slug
from elboard.results.board.site.gallery import Gallery
from elboard.results.kept import place
from elboard.results.measured import Measurements
from elboard.results.store import Group, groups
from elboard.results.verify import badges

BUDGETS = ("lite", "full", "smoke")  # in the order in which a task's boards are shown


@dataclass(frozen=True)
class Model:
    """Cards, boards, papers and claims, and the files of runs.

    Attributes:
        boards: of all tasks, versions and budgets, with every metric and the ranks of each that has a direction.
    """

    groups: list[Group]
    boards: list[Board]
    methods: dict[str, Entry]
    tasks: dict[str, Entry]
    papers: Sequence[Paper]
    claims: Sequence[claims.Entry]
    gallery: Gallery
    paths: tuple[Path, ...] = ()

    @cached_property
    def boards_of(self) -> dict[str, list[Board]]:
        """Boards by task: present version first, then in the order of BUDGETS."""
        found: dict[str, list[Board]] = defaultdict(list)
        order = {budget: place for place, budget in enumerate(BUDGETS)}
        for board in self.boards:
            found[board.task].append(board)
        for of_task in found.values():
            of_task.sort(key=lambda board: (not board.current, -board.version, order.get(board.budget, len(order)), board.budget))
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
    def runs(self) -> dict[str, Counter[str]]:
        """Finished runs by method and task, of the present versions."""
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for method, found in self.rows_of.items():
            for board, row in found:
                counted[method][board.task] += row.n
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

    def fitting(self, task: str) -> list[str]:
        """Methods whose cards say that they can run on ``task``."""
        return [name for name in self.method_names if self.fits(name, task)]

    @cached_property
    def papers_by_number(self) -> dict[str, Paper]:
        return {paper.number: paper for paper in self.papers}


def collect(root: Path | None, shipped: bool, paths: tuple[Path, ...] = ()) -> Model:
    """Read the records under ``root``, with ``shipped`` those of the package too, and all that pages say of them."""
    methods, tasks = discover("method", paths), discover("task", paths)
    found, known = filled(groups(root, shipped), root), papers()
    choice, trust = Choice(metrics=("all",), old=True, rank_all=True), badges(root, shipped, found)
    kept_in = place(root)
    with ThreadPoolExecutor() as pool:  # NumPy, where most of the time goes, runs beside other threads
        names = sorted({entry.card.family for entry in tasks.values()})
        built = [board for part in pool.map(lambda family: boards(found, family, paths, choice, trust, kept_in), names) for board in part]
    entries = claims.ledger(Measurements(found, paths), methods, tasks, known)
    return Model(found, built, methods, tasks, known, entries, Gallery(root, shipped), paths)


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
