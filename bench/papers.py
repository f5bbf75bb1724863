"""The papers as data: claims with the checks that test them, published numbers, and which of them are measured here.

One file a paper, ``sweeps/papers/<slug>.yaml``, names what is run once; its runs are what its checks, its cells and ``also`` ask for:

    paper: "051"                      # its number in results/reported/papers.json
    configurations:                   # what checks, cells and ``also`` call it: a method, with options that differ from its defaults
      vgae: {method: vgae}
      featureless: {method: vgae, set: {featureless: true}}
      vgae-8: {method: vgae, search: {sampler: random, trials: 8, space: {lr: {log: [0.001, 0.1]}}, seeds: 0-4}}
                                      # the best by validation of a search, in the words of sweeps; ``seeds`` of its runs if not the paper's
      spectral: {method: spectral-embedding, seeds: 0-4}            # ditto without a search: a noisier side may have more
    seeds: {default: 0-2, links/cora: 0-9}        # or the same for all tasks; 0-2 if absent
    claims:
    - text: ...                       # one falsifiable sentence
      check:                          # where the methods and tasks exist
        tasks: [links/cora]           # one verdict each; all must hold
        budget: lite
        metric: auc                   # without parameters, which come from the records
        left: vgae                    # a configuration
        right: featureless            # or {value: 0.91}
        relation: equal               # lower, higher: left against right; equal: within the margin
        margin: 0.02                  # in the metric's unit; below 0 for "not worse by more than"
        because: how the check stands for the claim
        tuning: why it favours neither side that one was tuned more; only where it was and that does not
        given: 2                      # number of an earlier claim without which the sentence speaks of nothing: a lead that is to shrink
      missing: ...                    # instead of a check: what is not here yet
      ours: true                      # not the paper's: a control that it lacks; such claims come last
    reported:                         # published numbers, verbatim
    - {table: ..., dataset: ..., metric: ..., method: ..., value: 91.4, higher_is_better: true, source: ..., confidence: seen}
    table:                            # which of them are measured here, and how
      budget: lite
      margins: {auc: {value: 1.0, why: ...}}       # of equivalence, in the published number's unit
      cells:
      - row: VGAE
        column: Cora, AUC
        published: {table: ..., dataset: ..., metric: ..., method: ...}   # fields that name exactly one reported number
        measured: {task: links/cora, configuration: vgae, metric: auc}
        scale: 100                    # published = scale * measured; 1 if absent
        same_data: true
        why: what differs from the paper's setting
        full: {same_data: true, why: ...}          # where they are others at budget full
    also: [{tasks: [links/cora], configurations: [vgae]}]     # runs at budget lite that no check and no cell needs
    full:                             # that budget full runs what the checks and cells ask for, and what of it is the paper's
      network: {text: ..., source: where the paper says so}   # may be left out; data and length may not
      length: {instead: ...}          # what is not the paper's
      set: {train.epochs: 300}        # over the options of each configuration; or, instead of it all, none: why
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from elboard.bench.config import BUDGETS
from elboard.bench.document import read_file
from elboard.bench.errors import UserError, nearest
from elboard.bench.full import CITED, Full
from elboard.bench.metrics.conventions import convention
from elboard.bench.reading import anything, by_name, each, fields_of, kind, number, one_of, options, positive, text, tupled

FOLDER = Path(__file__).parents[1] / "sweeps" / "papers"
INDEX = Path(__file__).parents[1] / "results" / "reported" / "papers.json"
RELATIONS = ("lower", "higher", "equal")
CONFIDENCES = ("seen", "memory-sure", "memory-unsure")
SEARCH = ("seed", "trial_seed", "parallel", "prune", "grace", "seeds")  # more words of a search
SPREAD = re.compile(r"(-?\d+(?:\.\d+)?) \+- \d+(?:\.\d+)?")


@dataclass(frozen=True)
class Reported:
    """A published number as the paper or its repository has it; ``value`` is text where it is not one number (``"26+7"``),
    ``higher_is_better`` None where neither direction is meant."""

    table: str
    dataset: str
    metric: str
    method: str
    value: float | str
    higher_is_better: bool | None
    source: str
    confidence: str

    @property
    def number(self) -> float | None:
        """The number, of ``"73.1 +- 0.3"`` the mean; None for a range, a pair or words."""
        if isinstance(self.value, str):
            match = SPREAD.fullmatch(self.value)
            return float(match[1]) if match else None
        return float(self.value)

    @property
    def verified(self) -> bool:
        """Whether it was read at its source, and not written down from memory."""
        return self.confidence == "seen"


@dataclass(frozen=True)
class Side:
    """One side of a check: a method with the options that differ from its defaults, or a value (in the metric's unit).

    ``search``: the words of the search whose best options it has beside ``set``, and its ``seeds``; empty without one. ``seeds``: its own,
    as the file writes them; None for those of the task or the paper.
    """

    method: str = ""
    set: dict[str, Any] = field(default_factory=dict, hash=False)
    value: float | None = None
    search: dict[str, Any] = field(default_factory=dict, hash=False)
    seeds: Any = field(default=None, hash=False, compare=False)

    @property
    def label(self) -> str:
        """``iwae (k=5)``, ``wmf [8 trials]``, or the value."""
        if self.value is not None:
            return f"{self.value:g}"
        words = ", ".join(f"{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in self.set.items())
        return self.method + (f" ({words})" if words else "") + (f" [{self.search['trials']} trials]" if self.search else "")


@dataclass(frozen=True)
class Check:
    """What would have to be measured for a claim to hold; see the module for the fields."""

    tasks: tuple[str, ...]
    budget: str
    metric: str
    left: Side
    right: Side
    relation: str
    margin: float
    because: str
    tuning: str = ""
    given: int = 0

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those that are configurations."""
        return tuple(side for side in (self.left, self.right) if side.method)


@dataclass(frozen=True)
class Claim:
    """A falsifiable sentence of a paper, or of ``ours`` beside it, with a check or with what is missing for one."""

    text: str
    check: Check | None = None
    missing: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Mapped:
    """A published number and where it is measured here; ``same_data`` and ``why`` by budget, "full" or any other."""

    row: str
    column: str
    published: Reported
    task: str
    of: Side
    metric: str
    scale: float
    same_data: bool
    why: str
    full: tuple[bool, str] | None = None

    def setting(self, budget: str) -> tuple[bool, str]:
        """Whether the data are the paper's at ``budget``, and what differs."""
        return self.full if self.full and budget == "full" else (self.same_data, self.why)


@dataclass(frozen=True)
class Paper:
    """A paper. ``margins`` holds (half-width of equivalence, why) by metric, ``seeds`` those of each task and of the others ("default"),
    ``also`` (task, configuration) of more runs at budget lite."""

    number: str
    slug: str
    title: str
    authors: str
    year: int
    venue: str
    kind: str
    family: str
    claims: tuple[Claim, ...]
    reported: tuple[Reported, ...]
    cells: tuple[Mapped, ...] = ()
    budget: str = "lite"
    margins: dict[str, tuple[float, str]] = field(default_factory=dict, hash=False)
    configurations: dict[str, Side] = field(default_factory=dict, hash=False)
    seeds: dict[str, Any] = field(default_factory=dict, hash=False)
    also: tuple[tuple[str, Side], ...] = ()
    full: Full | None = None

    def options(self, of: Side, budget: str) -> dict[str, Any]:
        """The options of a configuration at ``budget``."""
        return {**of.set, **(self.full.set if self.full and budget == "full" else {})}

    def compared(self, budget: str) -> list[tuple[str, Side]]:
        """(task, configuration) of the sides of the checks at ``budget``; of all checks at full."""
        checks = [claim.check for claim in self.claims if claim.check and budget in (claim.check.budget, "full")]
        return [(task, side) for check in checks for task in check.tasks for side in check.sides]

    def asked(self, budget: str) -> list[tuple[str, Side]]:
        """(task, configuration) of all that is to be run at ``budget``; nothing at full where the file does not speak of it."""
        if budget == "full" and (self.full is None or self.full.none):
            return []
        return [*self.compared(budget), *((cell.task, cell.of) for cell in self.cells), *(self.also if budget == "lite" else ())]

    def runs(self, budget: str) -> list[dict[str, Any]]:
        """:meth:`asked` as entries of a sweep, none twice. Raises UserError where there are none."""
        entries = [self._entry(task, of, budget) for task, of in self.asked(budget)]
        if not entries:
            have = " and ".join(other for other in BUDGETS if self.asked(other))
            said = f"it has some at {have}" if have else f"see `elboard claims {self.slug}` for what is missing"
            raise UserError(f"{self.slug} has no runs at {budget}: {said}")
        return [entry for i, entry in enumerate(entries) if entry not in entries[:i]]

    def seeds_of(self, task: str, of: Side) -> Any:
        """The seeds of a configuration on ``task``, as the file writes them: its own, else the task's, else the paper's."""
        own = of.search.get("seeds", of.seeds)
        return self.seeds.get(task, self.seeds["default"]) if own is None else own

    def _entry(self, task: str, of: Side, budget: str) -> dict[str, Any]:
        search = {name: value for name, value in of.search.items() if name != "seeds"}
        entry = {"tasks": [task], "methods": [of.method], "seeds": self.seeds_of(task, of), "set": self.options(of, budget)}
        return entry | ({"search": search} if search else {})


def index() -> list[dict[str, Any]]:
    """Number, slug, title, authors, year, venue, kind, family, tasks and the count of reported numbers of every paper."""
    return json.loads(INDEX.read_text(encoding="utf-8"))


def papers() -> list[Paper]:
    """All papers in the order of their numbers. Raises UserError, one line, for a file that is not valid."""
    return [read(FOLDER / f"{entry['slug']}.yaml", entry) for entry in index()]


def paper(name: str) -> Paper:
    """The paper with a slug or a number (``21``, ``"021"``). Raises UserError with the nearest slug."""
    known = index()
    for entry in known:
        if name == entry["slug"] or name.isdecimal() and int(name) == int(entry["n"]):
            return read(FOLDER / f"{entry['slug']}.yaml", entry)
    raise UserError(f"no paper {name!r}: {nearest(name, [entry['slug'] for entry in known])}")


def read(file: Path, entry: Mapping[str, Any]) -> Paper:
    """The paper of ``file``; ``entry`` is its entry of the index. Raises UserError, one line that names the file and the nearest thing."""
    tree = read_file(file, ours=True)
    try:
        return _build(tree, entry)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _build(tree: Any, entry: Mapping[str, Any]) -> Paper:
    more = {"configurations": by_name(_configuration), "seeds": anything, "table": anything, "also": anything, "full": _full}
    given = fields_of("", tree, {"paper": anything, "claims": anything, "reported": each(_reported)}, more)
    if given.pop("paper") != entry["n"]:
        raise UserError(f"paper: {tree['paper']!r} is not {entry['n']!r}, the number of {entry['slug']} in the index")
    if not given["claims"]:
        raise UserError("claims: there are none")
    named, parts = given.setdefault("configurations", {}), {"budget": one_of(BUDGETS), "margins": by_name(_margin), "cells": anything}
    table = fields_of("table", given.pop("table"), parts) if "table" in given else {}
    cells = each(partial(_cell, given["reported"], table.get("margins", {}), named))("table.cells", table.pop("cells", []))
    claims = each(partial(_claim, named))("claims", given["claims"])
    for i, check in enumerate([claim.check for claim in claims], 1):
        if check and check.given and (check.given not in range(1, i) or claims[check.given - 1].check is None):
            raise UserError(f"claims: given={check.given} of number {i} is no number of an earlier claim with a check")
    if [claim.ours for claim in claims] != sorted(claim.ours for claim in claims):
        raise UserError("claims: those that are `ours` come last, so that the paper's keep their numbers")
    also = tuple(pair for pairs in each(partial(_also, named))("also", given.get("also", [])) for pair in pairs)
    seeds = given.get("seeds", {})
    seeds = {"default": "0-2", **(seeds if isinstance(seeds, dict) else {"default": seeds})}
    checked = [task for claim in claims if claim.check for task in claim.check.tasks]
    for name in seeds:
        one_of(["default", *checked, *(cell.task for cell in cells), *(task for task, _ in also)])("seeds: task", name)
    about = {name: entry[name] for name in ("slug", "title", "authors", "year", "venue", "kind", "family")}
    return Paper(entry["n"], **about, **table, **{**given, "claims": claims, "cells": cells, "also": also, "seeds": seeds})


def _reported(where: str, given: Any) -> Reported:
    readers = {item.name: text for item in fields(Reported)} | {"higher_is_better": kind(bool, type(None))}
    return Reported(**fields_of(where, given, readers | {"value": kind(int, float, str), "confidence": one_of(CONFIDENCES)}))


def _claim(named: Mapping[str, Side], where: str, given: Any) -> Claim:
    claim = Claim(**fields_of(where, given, {"text": text}, {"check": partial(_check, named), "missing": text, "ours": kind(bool)}))
    if claim.check and claim.missing:
        raise UserError(f"{where}: has a check, so that nothing is `missing`")
    return claim


def _check(named: Mapping[str, Side], where: str, given: Any) -> Check:
    readers = {"tasks": each(text), "budget": one_of(BUDGETS), "metric": _metric, "left": one_of(named), "right": partial(_side, named)}
    words = fields_of(
        where, given, readers | {"relation": one_of(RELATIONS), "margin": number, "because": text}, {"tuning": text, "given": kind(int)}
    )
    if words["relation"] == "equal" and words["margin"] <= 0:
        raise UserError(f"{where}.margin={words['margin']:g} must be positive for the relation equal")
    if not words["tasks"]:
        raise UserError(f"{where}.tasks: there are none")
    return Check(**{**words, "left": named[words["left"]]})


def _side(named: Mapping[str, Side], where: str, given: Any) -> Side:
    return Side(**fields_of(where, given, {"value": number})) if isinstance(given, dict) else named[one_of(named)(where, given)]


def _configuration(where: str, given: Any) -> Side:
    return Side(**fields_of(where, given, {"method": text}, {"set": options, "search": _search, "seeds": anything}))


def _search(where: str, given: Any) -> dict[str, Any]:
    """The rest is checked where the sweep is expanded."""
    needed = {"sampler": text, "trials": kind(int), "space": kind(dict)}
    return fields_of(where, given, needed, dict.fromkeys(SEARCH, anything))


def _cell(reported: Iterable[Reported], margins: Mapping[str, Any], named: Mapping[str, Side], where: str, given: Any) -> Mapped:
    setting = {"same_data": kind(bool), "why": text}
    published = partial(fields_of, needed={}, optional=dict.fromkeys(("table", "dataset", "metric", "method"), text))
    measured = tupled(task=text, configuration=one_of(named), metric=_metric)
    needed = {"row": text, "column": text, "published": published, "measured": measured, **setting}
    words = fields_of(where, given, needed, {"scale": positive, "full": tupled(**setting)})
    which, (task, of, metric) = words.pop("published"), words.pop("measured")
    found = [entry for entry in reported if all(getattr(entry, name) == value for name, value in which.items())]
    if len(found) != 1:
        raise UserError(f"{where}.published {which} names {len(found)} of the reported numbers, not one")
    if found[0].number is None:
        raise UserError(f"{where}.published: the reported value {found[0].value!r} is not one number")
    if (words["same_data"] or "full" in words and words["full"][0]) and metric not in margins:
        raise UserError(f"{where}: the data are the paper's, so that table.margins needs {metric!r}")
    return Mapped(**{"scale": 1.0, **words}, published=found[0], task=task, of=named[of], metric=metric)


def _also(named: Mapping[str, Side], where: str, given: Any) -> list[tuple[str, Side]]:
    words = fields_of(where, given, {"tasks": each(text), "configurations": each(one_of(named))})
    return [(task, named[name]) for task in words["tasks"] for name in words["configurations"]]


def _full(where: str, given: Any) -> Full:
    words = fields_of(where, given, {}, {**dict.fromkeys(CITED, _own_or_instead), "set": options, "none": text})
    if "none" in words and len(words) > 1:
        raise UserError(f"{where}: says why there is `none`, so that nothing else is said")
    unsaid = [name for name in CITED[1:] if name not in words and "none" not in words]
    if unsaid:
        raise UserError(f"{where}: needs {unsaid[0]!r}: with `text` and `source` where it is the paper's, else `instead`")
    parts = {name: words.pop(name) for name in CITED if name in words}
    instead = {name: part for name, part in parts.items() if isinstance(part, str)}
    return Full({name: part for name, part in parts.items() if name not in instead}, instead, **words)


def _own_or_instead(where: str, given: Any) -> tuple[str, str] | str:
    if isinstance(given, dict) and "instead" in given:
        return fields_of(where, given, {"instead": text})["instead"]
    return tupled(text=text, source=text)(where, given)


def _margin(where: str, given: Any) -> tuple[float, str]:
    _metric("table.margins", where.removeprefix("table.margins."))
    return tupled(value=positive, why=text)(where, given)


def _metric(where: str, given: Any) -> str:
    try:
        return convention(str(given)) and str(given)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
