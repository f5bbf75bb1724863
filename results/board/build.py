"""From groups of records to boards: one board for a task, its version and a budget; one row for a method and its configuration."""

from __future__ import annotations

import fnmatch
import gc
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from elboard.bench.card import TaskCard
from elboard.bench.config import BUDGETS
from elboard.bench.errors import UserError, check_known, printable
from elboard.bench.identity import UNSAID, changed
from elboard.bench.metrics.conventions import bare, convention, count, whole
from elboard.bench.registry import Entry, discover
from elboard.results.backfill import filled
from elboard.results.board.summaries import by_seed, mean_costs, summarise_board
from elboard.results.kept import place
from elboard.results.said import BADGES
from elboard.results.stats import Cell, Pairs, Standing, compare_rows
from elboard.results.store import Group, groups
from elboard.results.tuning import Tuning, tuning_of
from elboard.results.verify import badges


@dataclass(frozen=True)
class Row:
    """A method with one configuration.

    Attributes:
        of: the runs: method, seeds, keys, values of all metrics.
        cells: by metric, over the seeds that have it.
        ranks: by metric that is ranked, the range of ranks and the state (:func:`elboard.results.stats.standings`).
        badge: the least trusted of its records' badges, one of BADGES.
        oracle: what of the test data it is handed, by the method's card; empty for a method, and only these are ranked.
        methods: those that are here, whose cards say what options are declared and how they were found.
    """

    of: Group
    cells: Mapping[str, Cell]
    ranks: Mapping[str, Standing]
    badge: str
    oracle: str
    methods: Mapping[str, Entry] = field(repr=False)

    @cached_property
    def cost(self) -> dict[str, float]:
        """Means over the runs of what their records hold (wall_s, parameters, energy_j ...)."""
        return mean_costs(self.of)

    @cached_property
    def changed(self) -> dict[str, Any]:
        """Options that differ from the task's defaults (:func:`elboard.bench.identity.changed`)."""
        return changed(self.of.identity, self.methods)

    @property
    def tuned(self) -> dict[str, Any]:
        """Of a configuration that a search chose, what the record says of it (trials, metric); empty otherwise."""
        return self.of.notes.get("search", {})

    @cached_property
    def tuning(self) -> Tuning:
        """How its options were found, by the method's card and that record."""
        entry = self.methods.get(self.method)
        here = entry and entry.card.version == self.of.method_version and not {*UNSAID} & {*self.changed}
        return tuning_of(entry.card if here else None, self.of.task, self.changed if here else {}, self.tuned)

    @property
    def method(self) -> str:
        return self.of.method

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return self.of.n

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.of.seeds.tolist())

    @cached_property
    def values(self) -> dict[str, dict[int, float]]:
        """By metric, the value of each seed."""
        return {key: by_seed(self.of, key) for key in self.cells}

    @property
    def of_its_own(self) -> bool:
        """Whether it is of options of the task other than the budget's, so that what the card says of examples need not hold."""
        return any(name.startswith("task.") for name in self.changed)

    @property
    def label(self) -> str:
        """Method and settings on one line; those that a search drew to four digits. Marked if it is an oracle."""
        drawn = self.tuned.get("parameters", {})
        shown = {
            name: float(f"{value:.4g}") if name in drawn and isinstance(value, float) else value for name, value in self.changed.items()
        }
        settings = ", ".join(f"{name}={value}" for name, value in shown.items())
        name = f"{self.method} ({settings})" if settings else self.method
        name += f" [tuned, {self.tuned['trials']} trials]" if "trials" in self.tuned else ""
        return printable(f"{name} [oracle]" if self.oracle else name)


@dataclass(frozen=True)
class Board:
    """Rows of one task, version and budget in the order of their means, best first; a board never mixes versions or budgets.

    ``examples`` says of how many test examples columns are whose keys do not say it, where the columns of a board differ in that.
    """

    task: str
    version: int
    budget: str
    title: str
    columns: tuple[str, ...]
    primary: str
    varies: str
    rows: tuple[Row, ...] = field(default=())
    current: bool = True
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def examples_said(self) -> dict[str, str]:
        """``examples``, and that rows with options of the task may be of others, where there are such rows."""
        if not self.examples:
            return {}
        but = " but in rows with options of the task" if any(row.of_its_own for row in self.rows) else ""
        return {key: n + but for key, n in self.examples.items()}

    @property
    def ranked(self) -> int:
        """How many rows are ranked by the primary metric."""
        return sum(self.primary in row.ranks for row in self.rows)

    def pairs(self, key: str, *asked: Row) -> tuple[list[Row], Pairs]:
        """The rows that have the metric ``key``, and every two of them compared; of oracles only those ``asked`` for."""
        rows = [row for row in self.rows if key in row.cells and (not row.oracle or row in asked)]
        return rows, compare_rows([row.values[key] for row in rows])


def columns_of(wanted: Iterable[str], present: Iterable[str]) -> tuple[str, ...]:
    """The metric keys among ``present`` that ``wanted`` names; a name without brackets stands for all its bracketed variants (``fd``)."""
    present = list(dict.fromkeys(present))
    chosen: list[str] = []
    for name in wanted:
        chosen += [name] if name in present else [key for key in present if bare(key) == name]
    return tuple(dict.fromkeys(chosen))


@dataclass(frozen=True)
class Choice:
    """What to show.

    Attributes:
        metrics: bare names or keys; those of the task's card if empty; ``("all",)`` for every one.
        methods: patterns of names. budget: one, or all if empty.
        sort: the metric that orders and ranks; the task's primary one if empty.
        min_n: rows of at least so many seeds.
        tuned: configurations that a search chose: "" with the others, "only", "without".
        old: boards of earlier versions of tasks too.
        rank_all: ranks for every metric, not for the one that orders alone.
    """

    metrics: tuple[str, ...] = ()
    budget: str = ""
    methods: tuple[str, ...] = ()
    sort: str = ""
    min_n: int = 1
    tuned: str = ""
    old: bool = False
    rank_all: bool = False

    def check(self) -> None:
        """Raises UserError for words that nothing is called by, and for a metric that cannot order."""
        for key in (*self.metrics, *([self.sort] if self.sort else [])):
            if key != "all":
                convention(key)
        if self.sort and convention(self.sort).direction == "none":
            raise UserError(f"metric {self.sort!r} has no direction to sort by")
        check_known("choice of tuned", self.tuned, ("", "only", "without"))
        check_known("budget", self.budget, ("", *BUDGETS))

    def takes(self, group: Group) -> bool:
        """Whether the rows of ``group`` are wanted."""
        named = not self.methods or any(fnmatch.fnmatchcase(group.method, pattern) for pattern in self.methods)
        wanted = not self.tuned or bool(group.notes.get("search")) == (self.tuned == "only")
        return named and wanted and (not self.budget or self.budget == group.budget)


def read_boards(
    root: Path | None,
    shipped: bool = True,
    pattern: str = "",
    paths: tuple[Path, ...] = (),
    choice: Choice = Choice(),  # noqa: B008 (frozen)
) -> tuple[list[Group], list[Board]]:
    """The groups of the records under ``root`` and, with ``shipped``, of those of the package, metrics that were computed later included,
    and :func:`boards` of them with their badges; the boards' statistics are kept."""
    collects = gc.isenabled()
    gc.disable()  # all that is made stays: looking for garbage takes a quarter of the time
    try:
        found = filled(groups(root, shipped, pattern), root)
        return found, boards(found, pattern, paths, choice, badges(root, shipped, found), place(root))
    finally:
        if collects:
            gc.enable()


def boards(
    groups: Iterable[Group],
    pattern: str = "",
    paths: tuple[Path, ...] = (),
    choice: Choice = Choice(),  # noqa: B008 (frozen)
    badges: Mapping[str, Mapping[str, str]] | None = None,
    kept_in: Path | None = None,
) -> list[Board]:
    """Boards of all tasks, or of the task or family ``pattern``. Records of other versions than the present one are left out unless wanted.

    ``badges``: of records, by group and key (:func:`elboard.results.verify.badges`); claimed if absent. ``kept_in``: folder of the cache of
    boards' statistics.
    """
    cards = {name: entry.card for name, entry in discover("task", paths).items()}
    sorted_out: dict[tuple[str, int, str], list[Group]] = defaultdict(list)
    wanted = {name: card for name, card in cards.items() if pattern in ("", name, card.family)}
    for group in groups:
        task, version, budget, *_ = group.of.name
        if task in wanted and (wanted[task].version == version or choice.old) and choice.takes(group):
            sorted_out[task, -version, budget].append(group)
    methods = discover("method", paths)
    built = [
        _board(cards[task], -version, budget, found, choice, badges or {}, methods, kept_in)
        for (task, version, budget), found in sorted(sorted_out.items())
    ]
    return [board for board in built if board.rows]


def _board(
    card: TaskCard,
    version: int,
    budget: str,
    groups: list[Group],
    choice: Choice,
    badges: Mapping[str, Mapping[str, str]],
    methods: Mapping[str, Entry],
    kept_in: Path | None,
) -> Board:
    groups = [group for group in groups if group.n >= choice.min_n or group.failed and choice.min_n == 1]
    named = (*choice.metrics, choice.sort)
    measured = dict.fromkeys(group.measured for group in groups)
    present = [key for keys in measured for key in (*whole(keys), *(key for key in named if key in keys))]
    present = list(dict.fromkeys(present))
    columns = columns_of(choice.metrics or card.metrics, present) if choice.metrics != ("all",) else tuple(present)
    primary = next(iter(columns_of((choice.sort or card.primary,), present)), card.primary)
    if primary in present and primary not in columns:
        columns = (primary, *columns)
    ranked = [key for key in columns if convention(key).direction != "none" and (choice.rank_all or key == primary)]
    oracles = [_oracle(group, methods) for group in groups]
    apart = [i for i, oracle in enumerate(oracles) if oracle]
    found = summarise_board(groups, columns, ranked, kept_in, apart)
    sign = -1 if convention(primary).direction == "higher" else 1
    said = [_badge(group, badges.get(group.group, {})) for group in groups]
    rows = [Row(*of, methods) for of in zip(groups, found.cells, found.ranks, said, oracles, strict=True)]

    places = [(primary not in of, sign * of[primary].mean if primary in of else 0.0) for of in found.cells]
    tied = Counter(places)
    order = sorted(zip(places, rows, strict=True), key=lambda of: (of[0], of[1].label if tied[of[0]] > 1 else ""))
    current = card.version == version
    examples = _examples(card, budget, columns) if current else {}
    return Board(card.name, version, budget, card.title, columns, primary, card.varies, tuple(row for _, row in order), current, examples)


def _examples(card: TaskCard, budget: str, columns: Iterable[str]) -> dict[str, str]:
    """Of how many test examples ``columns`` are, by column, as the card says it; nothing where all are of the same ones."""
    patterns = card.examples.get(budget, {})
    fitting = {key: [n for pattern, n in patterns.items() if fnmatch.fnmatchcase(bare(key), pattern)] for key in columns if not count(key)}
    found = {key: f"{n[0]:,}" if isinstance(n[0], int) else n[0] for key, n in fitting.items() if n}
    return found if len(set(found.values())) > 1 else {}


def _badge(group: Group, badges: Mapping[str, str]) -> str:
    """The least of its runs', of which ``badges`` has those that have one; the others are claimed."""
    return min({*badges.values(), *(["claimed"] if len(badges) < group.n else [])}, key=BADGES.index) if badges else "claimed"


def _oracle(group: Group, methods: Mapping[str, Entry]) -> str:
    """What of the test data the method of ``group`` is handed, whichever its version; empty where it is none, or not here."""
    entry = methods.get(group.method)
    return entry.card.oracle if entry else ""


def arrow(key: str) -> str:
    """``↑`` where higher is better, ``↓`` where lower is, else nothing."""
    return {"higher": "↑", "lower": "↓"}.get(convention(key).direction, "")
