"""The papers as data: claims with the checks that test them, published numbers, and which of them are measured here.

One file a paper, ``sweeps/papers/<slug>.yaml``:

    paper: "051"                      # its number in results/reported/papers.json
    claims:
    - text: ...                       # one falsifiable sentence
      check:                          # where the methods and tasks exist
        tasks: [links/cora]           # one verdict each; all must hold
        budget: lite
        metric: auc                   # without parameters, which come from the records
        left: {method: vgae}          # options that differ from the defaults as set: {...}
        right: {method: gae}          # or {value: 0.91}
        relation: equal               # lower, higher: left against right; equal: within the margin
        margin: 0.02                  # in the metric's unit; below 0 for "not worse by more than"
        because: how the check stands for the claim
      missing: ...                    # instead of a check: what is not here yet
    reported:                         # published numbers, verbatim
    - {table: ..., dataset: ..., metric: ..., method: ..., value: 91.4, higher_is_better: true, source: ..., confidence: seen}
    table:                            # which of them are measured here, and how
      budget: lite
      margins: {auc: {value: 1.0, why: ...}}       # of equivalence, in the published number's unit
      cells:
      - row: VGAE
        column: Cora, AUC
        published: {table: ..., dataset: ..., metric: ..., method: ...}   # fields that name exactly one reported number
        measured: {task: links/cora, method: vgae, metric: auc}           # and set: {...}
        scale: 100                    # published = scale * measured; 1 if absent
        same_data: true
        why: what differs from the paper's setting
        full: {same_data: true, why: ...}          # where they are others at budget full
    runs: [{tasks: [links/cora], methods: [vgae, gae], seeds: 0-9, set: {...}}]
    full: [...]                       # the same at budget full, where the paper's data are here
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from elboard.bench.config import BUDGETS, numbers
from elboard.bench.errors import UserError, nearest
from elboard.bench.metrics.conventions import convention

FOLDER = Path(__file__).parents[1] / "sweeps" / "papers"
INDEX = Path(__file__).parent / "reported" / "papers.json"
RELATIONS = ("lower", "higher", "equal")
CONFIDENCES = ("seen", "memory-sure", "memory-unsure")
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
    """One side of a check: a method with the options that differ from its defaults, or a value (in the metric's unit)."""

    method: str = ""
    set: dict[str, Any] = field(default_factory=dict, hash=False)
    value: float | None = None

    @property
    def label(self) -> str:
        """``iwae (k=5)``, or the value."""
        return f"{self.value:g}" if self.value is not None else label(self.method, self.set)


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

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of both sides."""
        return tuple(side.method for side in (self.left, self.right) if side.method)


@dataclass(frozen=True)
class Claim:
    """A falsifiable sentence of a paper, with a check or with what is missing for one."""

    text: str
    check: Check | None = None
    missing: str = ""


@dataclass(frozen=True)
class Measured:
    """Where a published number is measured here."""

    task: str
    method: str
    metric: str
    set: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """``vgae (featureless=true)``."""
        return label(self.method, self.set)


@dataclass(frozen=True)
class Mapped:
    """A published number and its measurement; ``same_data`` and ``why`` by budget, "full" or any other."""

    row: str
    column: str
    published: Reported
    measured: Measured
    scale: float
    same_data: bool
    why: str
    full: tuple[bool, str] | None = None

    def setting(self, budget: str) -> tuple[bool, str]:
        """Whether the data are the paper's at ``budget``, and what differs."""
        return self.full if self.full and budget == "full" else (self.same_data, self.why)


@dataclass(frozen=True)
class Paper:
    """A paper. ``margins`` holds (half-width of equivalence, why) by metric, ``runs`` sweep entries by budget ("lite", "full")."""

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
    runs: dict[str, list[dict]] = field(default_factory=dict, hash=False)


def label(method: str, options: Mapping[str, Any]) -> str:
    """``iwae (k=5)``."""
    words = ", ".join(f"{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in options.items())
    return f"{method} ({words})" if words else method


def index() -> list[dict[str, Any]]:
    """Number, slug, title, authors, year, venue, kind, family, tasks and the count of reported numbers of every paper."""
    return json.loads(INDEX.read_text(encoding="utf-8"))


def papers() -> list[Paper]:
    """All papers in the order of their numbers. Raises UserError, one line, for a file that is not valid."""
    return [_paper(entry) for entry in index()]


def paper(name: str) -> Paper:
    """The paper with a slug or a number (``21``, ``"021"``). Raises UserError with the nearest slug."""
    known = index()
    for entry in known:
        if name == entry["slug"] or name.isdecimal() and int(name) == int(entry["n"]):
            return _paper(entry)
    raise UserError(f"no paper {name!r}: {nearest(name, [entry['slug'] for entry in known])}")


def _paper(entry: Mapping[str, Any]) -> Paper:
    return read(FOLDER / f"{entry['slug']}.yaml", entry)


def read(file: Path, entry: Mapping[str, Any]) -> Paper:
    """The paper of ``file``; ``entry`` is its entry of the index. Raises UserError, one line that names the file and the nearest thing."""
    import yaml

    try:
        tree = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML ({str(error).splitlines()[0]})") from None
    try:
        return _build(tree, entry)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _build(tree: Any, entry: Mapping[str, Any]) -> Paper:
    _known("the file", tree, ("paper", "claims", "reported", "table", "runs", "full"), needed=("paper", "claims", "reported"))
    if tree["paper"] != entry["n"]:
        raise UserError(f"paper: {tree['paper']!r} is not {entry['n']!r}, the number of {entry['slug']} in the index")
    reported = tuple(_reported(f"reported {i}", given) for i, given in enumerate(_list("reported", tree["reported"]), 1))
    if not tree["claims"]:
        raise UserError("claims: there are none")
    claims = tuple(_claim(f"claim {i}", given) for i, given in enumerate(_list("claims", tree["claims"]), 1))
    table = tree.get("table", {})
    _known("table", table, ("budget", "margins", "cells"), needed=("budget", "margins", "cells") if table else ())
    margins = {_metric("table.margins", name): _margin(name, given) for name, given in table.get("margins", {}).items()}
    cells = tuple(_cell(f"table cell {i}", given, reported, margins) for i, given in enumerate(_list("cells", table.get("cells", [])), 1))
    runs = {budget: _runs(name, tree[name]) for name, budget in (("runs", "lite"), ("full", "full")) if name in tree}
    about = {name: entry[name] for name in ("slug", "title", "authors", "year", "venue", "kind", "family")}
    budget = _one_of("table.budget", table.get("budget", "lite"), BUDGETS)
    return Paper(entry["n"], **about, claims=claims, reported=reported, cells=cells, budget=budget, margins=margins, runs=runs)


def _reported(where: str, given: Any) -> Reported:
    names = [item.name for item in fields(Reported)]
    _known(where, given, names, needed=names)
    _one_of(f"{where}: confidence", given["confidence"], CONFIDENCES)
    for name in names:
        kinds = {"value": int | float | str, "higher_is_better": bool | None}.get(name, str)
        if not isinstance(given[name], kinds) or name == "value" and isinstance(given[name], bool):
            raise UserError(f"{where}: {name}={given[name]!r} has the wrong type")
    return Reported(**given)


def _claim(where: str, given: Any) -> Claim:
    _known(where, given, ("text", "check", "missing"), needed=("text",))
    if "check" in given and "missing" in given:
        raise UserError(f"{where}: has a check, so that nothing is `missing`")
    check = _check(f"{where}: check", given["check"]) if "check" in given else None
    return Claim(str(given["text"]), check, given.get("missing", ""))


def _check(where: str, given: Any) -> Check:
    names = [item.name for item in fields(Check)]
    _known(where, given, names, needed=names)
    sides = {name: _side(f"{where}.{name}", given[name]) for name in ("left", "right")}
    if not sides["left"].method:
        raise UserError(f"{where}.left: needs a method")
    margin = _number(f"{where}.margin", given["margin"])
    if _one_of(f"{where}.relation", given["relation"], RELATIONS) == "equal" and margin <= 0:
        raise UserError(f"{where}.margin={margin:g} must be positive for the relation equal")
    _one_of(f"{where}.budget", given["budget"], BUDGETS)
    tasks = tuple(_list(f"{where}.tasks", given["tasks"]))
    if not tasks:
        raise UserError(f"{where}.tasks: there are none")
    _metric(f"{where}.metric", given["metric"])
    return Check(**{**given, **sides, "tasks": tasks, "margin": margin})


def _side(where: str, given: Any) -> Side:
    _known(where, given, ("method", "set", "value"))
    if ("method" in given) == ("value" in given) or "value" in given and "set" in given:
        raise UserError(f"{where}: needs either a method, with or without `set`, or a value")
    value = _number(f"{where}.value", given["value"]) if "value" in given else None
    return Side(given.get("method", ""), _options(where, given), value)


def _cell(where: str, given: Any, reported: Iterable[Reported], margins: Mapping[str, Any]) -> Mapped:
    needed = ("row", "column", "published", "measured", "same_data", "why")
    _known(where, given, (*needed, "scale", "full"), needed=needed)
    _known(f"{where}.published", given["published"], ("table", "dataset", "metric", "method"))
    found = [entry for entry in reported if all(getattr(entry, name) == value for name, value in given["published"].items())]
    if len(found) != 1:
        raise UserError(f"{where}.published {given['published']} names {len(found)} of the reported numbers, not one")
    if found[0].number is None:
        raise UserError(f"{where}.published: the reported value {found[0].value!r} is not one number")
    words = ("task", "method", "metric")
    _known(f"{where}.measured", given["measured"], (*words, "set"), needed=words)
    measured = Measured(*(given["measured"][name] for name in words), _options(where, given["measured"]))
    metric = _metric(f"{where}.measured.metric", measured.metric)
    full = given.get("full")
    if full is not None:
        _known(f"{where}.full", full, ("same_data", "why"), needed=("same_data", "why"))
    if (given["same_data"] or full and full["same_data"]) and metric not in margins:
        raise UserError(f"{where}: the data are the paper's, so that table.margins needs {metric!r}")
    scale = _number(f"{where}.scale", given.get("scale", 1))
    if scale <= 0:
        raise UserError(f"{where}.scale={scale:g} is not positive")
    setting = (full["same_data"], full["why"]) if full else None
    return Mapped(given["row"], given["column"], found[0], measured, scale, given["same_data"], given["why"], setting)


def _runs(where: str, given: Any) -> list[dict]:
    for entry in _list(where, given):
        _known(where, entry, ("tasks", "methods", "seeds", "set"), needed=("tasks", "methods", "seeds"))
        if any(character in str(word) for word in (*entry["tasks"], *entry["methods"]) for character in "*?["):
            raise UserError(f"{where}: tasks and methods are names here, not patterns")
    return [{**entry, "set": _options(where, entry)} for entry in given]


def _options(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    options = given.get("set", {})
    if not isinstance(options, dict):
        raise UserError(f"{where}.set is a mapping of options")
    return numbers(options)


def _margin(name: str, given: Any) -> tuple[float, str]:
    _known(f"table.margins.{name}", given, ("value", "why"), needed=("value", "why"))
    value = _number(f"table.margins.{name}", given["value"])
    if value <= 0:
        raise UserError(f"table.margins.{name}={value:g} is not positive")
    return value, given["why"]


def _metric(where: str, name: Any) -> str:
    try:
        convention(str(name))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return str(name)


def _number(where: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise UserError(f"{where}={given!r} is not a number")
    return float(given)


def _list(where: str, given: Any) -> list:
    if not isinstance(given, list):
        raise UserError(f"{where} is a list")
    return given


def _one_of(where: str, given: Any, known: Iterable[str]) -> str:
    if given not in known:
        raise UserError(f"{where} {given!r}: {nearest(str(given), known)}")
    return given


def _known(where: str, given: Any, known: Iterable[str], needed: Iterable[str] = ()) -> None:
    if not isinstance(given, dict):
        raise UserError(f"{where} is a mapping with {', '.join(known)}")
    for name in given:
        if name not in known:
            raise UserError(f"{where}: unknown field {name!r}, {nearest(str(name), known)}")
    for name in needed:
        if name not in given:
            raise UserError(f"{where}: needs {name!r}")
