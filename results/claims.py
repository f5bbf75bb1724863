"""The claims ledger: which of the papers' claims hold here, by records alone.

With d = left - right, turned so that positive supports the relation, and its 95 % interval, which is Student's with the variances of the
board that both sides stand on (:mod:`elboard.results.stats.ranks`):

* lower, higher: ``holds`` if the interval lies above the margin, ``refuted`` if it lies below it, else ``undecided``;
* equal: ``holds`` if the 90 % interval of d lies within +- margin (two one-sided tests at 5 %), ``refuted`` if the 95 % interval lies
  wholly outside, else ``undecided``.

Where the options of one side were searched on the data of the check with more trials than those of the other, and that may be why, the
verdict is ``undecided`` (:func:`elboard.results.tuning.judged`).

A check may be ``given`` an earlier claim, of a lead that is to shrink, say: unless that holds, its verdict is ``undecided``.

One seed leaves a claim undecided, and so do equal differences of few seeds, or of values that vary, where the board does not say how
much. Of several tasks one that refutes refutes the claim, and it holds only if all hold. A claim without a check, or with one that needs a
method or task which is not here, is ``not implemented``. Each claim is tested at its own level: with many claims a few verdicts are wrong
by chance.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench.metrics.conventions import ceiling, saturated
from elboard.bench.papers import Check, Claim, Paper, papers
from elboard.bench.registry import aliases, find
from elboard.results import markup
from elboard.results.kept import digest, kept
from elboard.results.measured import ALIKE, Estimate, Measurement, Measurements, equivalence, estimate, metric_key
from elboard.results.stats.groups import EXACT, UNDECIDED
from elboard.results.tuning import judged, tuning_of

if TYPE_CHECKING:
    from elboard.bench.registry import Entry as Listed
    from elboard.results.store import Group

STATUSES = ("holds", "refuted", "undecided", "not run", "not implemented")
UNTESTED = STATUSES[3:]
FORMATS = ("table", "md", "json")
LEGEND = (
    "left - right [95 % interval] in the metric's unit; p: of no difference, for = of the two one-sided tests; "
    "each claim is tested at its own level of 5 %"
)
HEAD = ("paper", "claim", "status", "tested as", "left - right")
VOID = "speaks of nothing without claim"
ONE, STILL, SAME = "one seed has no interval", "equal differences say nothing of the spread", "both sides are one configuration"
_EQUAL = {"equal": "holds", "different": "refuted", "open": "undecided"}


@dataclass(frozen=True)
class Part:
    """A check on one task.

    Attributes:
        metric: the full key of the metric, or its name where not run.
        effect, low, high: of left - right in the metric's unit, 95 % interval; None where not run, bounds None for one seed.
        n, p, test: as of :class:`elboard.results.stats.Comparison`; p is that of no difference, and for the relation equal the larger one
            of two one-sided tests, small where the sides are equivalent.
        note: why it is undecided or not run, or why a verdict stands in spite of unequal tuning.
        found: how the options of each side that is a configuration were found; ``trials``: the settings of which these are the best.
        keys: of the records that it rests on.
    """

    task: str
    status: str
    metric: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    p: float | None = None
    test: str = ""
    note: str = ""
    keys: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    trials: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A claim, ``number`` in its paper's list, and what became of it; ``note`` says what is missing where it is not implemented."""

    paper: Paper
    number: int
    claim: Claim
    status: str
    parts: tuple[Part, ...] = ()
    note: str = ""


def ledger(measurements: Measurements, methods: Collection[str], tasks: Collection[str], of: Sequence[Paper] | None = None) -> list[Entry]:
    """All claims of the papers ``of`` (all if None), in their order; ``methods`` and ``tasks`` are the names that exist.

    Raises UserError for a check with an option that its method does not have.
    """
    methods = {*methods, *aliases("method", measurements.paths)}
    found = []
    for paper in papers() if of is None else of:
        own: list[Entry] = []
        for number, claim in enumerate(paper.claims, 1):
            own.append(_given(_entry(paper, number, claim, measurements, methods, tasks), own))
        found += own
    return found


def _given(entry: Entry, before: Sequence[Entry]) -> Entry:
    """``entry`` without its verdict where the claim ``before`` it that its check is given does not hold."""
    given = entry.claim.check.given if entry.claim.check else 0
    if not given or before[given - 1].status == "holds":
        return entry
    note = f"{VOID} {given}, which is {before[given - 1].status}"
    parts = [replace(part, status="undecided", note=note) if part.status in _EQUAL.values() else part for part in entry.parts]
    return replace(entry, status=together([part.status for part in parts]) if parts else entry.status, parts=tuple(parts))


def kept_ledger(
    groups: Sequence[Group], methods: Mapping[str, Listed], tasks: Mapping[str, Listed], paths: tuple[Path, ...], folder: Path
) -> list[Entry]:
    """:func:`ledger` of all papers by ``groups``, kept in ``folder`` where no code but the package's has a part in it."""
    known = papers()

    def made() -> list[Entry]:
        return ledger(Measurements(groups, paths), methods, tasks, known)

    if paths or any(not entry.module.startswith("elboard.") for entry in (*methods.values(), *tasks.values())):
        return made()
    about = ["claims", [[group.group, group.n, digest(group), group.notes] for group in groups]]
    said = kept(folder, about, lambda: [[entry.status, [asdict(part) for part in entry.parts], entry.note] for entry in made()])
    claims = [(paper, number, claim) for paper in known for number, claim in enumerate(paper.claims, 1)]
    return [Entry(*of, status, tuple(map(_part_of, parts)), note) for of, (status, parts, note) in zip(claims, said, strict=True)]


def _part_of(tree: Mapping[str, Any]) -> Part:
    return Part(**{name: tuple(value) if isinstance(value, list) else value for name, value in tree.items()})


def _entry(paper: Paper, number: int, claim: Claim, measurements: Measurements, methods: Collection[str], tasks: Collection[str]) -> Entry:
    check = claim.check
    if check is None:
        return Entry(paper, number, claim, "not implemented", note=claim.missing)
    absent = [side.method for side in check.sides if side.method not in methods] + [name for name in check.tasks if name not in tasks]
    if absent:
        return Entry(paper, number, claim, "not implemented", note=", ".join(dict.fromkeys(absent)))
    parts = tuple(_part(paper, check, task, measurements) for task in check.tasks)
    return Entry(paper, number, claim, together([part.status for part in parts]), parts)


def together(statuses: Sequence[str]) -> str:
    """The status of a claim from those of its tasks."""
    return "refuted" if "refuted" in statuses else statuses[0] if len(set(statuses)) == 1 else "undecided"


def verdict(relation: str, margin: float, found: Estimate) -> str:
    """``holds``, ``refuted`` or ``undecided`` of left - right; ``margin`` may be negative but for the relation equal."""
    if relation == "equal":
        return _EQUAL[equivalence(found, margin)]
    low, high = found.interval(0.95)
    low, high = (low, high) if relation == "higher" else (-high, -low)
    return "holds" if low > margin + found.slack else "refuted" if high < margin - found.slack else "undecided"


def stands(relation: str, status: str, left: bool, right: bool = False) -> bool:
    """Whether a verdict on left - right holds where the values of ``left`` or of ``right`` are bounds that the true ones may exceed."""
    if relation == "equal" or status not in ("holds", "refuted"):
        return not (left or right)
    large = (relation == "higher") == (status == "holds")  # it says that left - right is large: a larger left makes it more so
    return not (right if large else left)


def _part(paper: Paper, check: Check, task: str, measurements: Measurements) -> Part:
    found = [measurements.of(paper, side, task, check.budget) for side in check.sides]
    absent = [side.label for side, measured in zip(check.sides, found, strict=True) if measured is None]
    key = None if absent else metric_key(check.metric, [measured.metrics for measured in found])
    if key is None:
        note = f"no records of {' and '.join(dict.fromkeys(absent))}" if absent else f"no records with {check.metric}"
        return Part(task, "not run", check.metric, note=note)
    values = [measured.metrics[key] for measured in found]
    part = _against_value(check, values[0]) if check.right.value is not None else _against_method(check, measurements, *found, key)
    full = [saturated(key, math.fsum(by_seed.values()) / len(by_seed)) for by_seed in values]
    if not stands(check.relation, part["status"], *full):
        part |= {"status": "undecided", "note": f"saturated: an estimate of {key} is at most {ceiling(key):.2f}"}
    keys = dict.fromkeys(of for measured, by_seed in zip(found, values, strict=True) for of in measured.keys(by_seed))
    return _with_tuning(paper, check, Part(task, metric=key, keys=tuple(keys), **part), found, measurements.paths)


def _with_tuning(paper: Paper, check: Check, part: Part, found: Sequence[Measurement], paths: tuple[Path, ...]) -> Part:
    """``part`` with how the options of its sides were found, and with the verdict that unequal tuning leaves."""
    of = [
        tuning_of(
            find("method", side.method, paths).card, part.task, paper.options(side, check.budget), measured.search if side.search else {}
        )
        for side, measured in zip(check.sides, found, strict=True)
    ]
    words, trials = tuple(one.words for one in of), tuple(one.trials for one in of)
    status, note = part.status, part.note
    if len(of) == 2:
        status, said = judged(part.status, check.relation, part.metric, part.effect, trials, check.tuning)
        note = note or said
    return replace(part, status=status, note=note, found=words, trials=trials)


def _against_method(check: Check, measurements: Measurements, left: Measurement, right: Measurement, key: str) -> dict[str, Any]:
    if left.group == right.group:  # of a search that chose the other side's options
        return {"n": len(left.metrics[key]), "status": "undecided", "note": SAME}
    found, difference = measurements.compare(left, right, key)
    if difference is None:
        said = {"effect": found.effect, "n": found.n, "test": found.test}
        return {**said, "status": "undecided", "note": ONE if found.n < 2 else STILL}
    test = f"two one-sided {found.test}" if check.relation == "equal" and found.test != "exact" else found.test
    return {"n": found.n, **_student(check, difference, test)}


def _against_value(check: Check, left: dict[int, float]) -> dict[str, Any]:
    """The mean of ``left`` against the check's value, Student's t over seeds."""
    if len(left) < 2:
        return {"effect": next(iter(left.values())) - check.right.value, "n": 1, "test": UNDECIDED[0], "status": "undecided", "note": ONE}
    found = estimate(list(left.values()), check.right.value)
    if found.error == 0 and len(left) < EXACT:
        return {"effect": found.mean, "n": len(left), "test": UNDECIDED[1], "status": "undecided", "note": ALIKE}
    test = "two one-sided t" if check.relation == "equal" else "one-sample t"
    return {"n": len(left), **_student(check, found, test)}


def _student(check: Check, found: Estimate, test: str) -> dict[str, Any]:
    low, high = found.interval(0.95)
    p = found.p_equal(check.margin) if check.relation == "equal" else found.p()
    status = verdict(check.relation, check.margin, found)
    return {"effect": found.mean, "low": low, "high": high, "p": p, "test": test, "status": status}


def summary(entries: Iterable[Entry]) -> dict[str, int]:
    """Number of claims by status, all statuses in their order."""
    counts = Counter(entry.status for entry in entries)
    return {status: counts[status] for status in STATUSES}


def summary_text(entries: Sequence[Entry]) -> str:
    """``223 claims of 118 papers: 5 holds, ...``."""
    counts = ", ".join(f"{count} {status}" for status, count in summary(entries).items())
    count = len({entry.paper.number for entry in entries})
    return f"{len(entries)} claims of {count} paper{'s' if count != 1 else ''}: {counts}"


def relation_text(check: Check) -> str:
    """``nll: iwae < vae - 1``: what the check asks for."""
    left, right = check.left.label, check.right.label
    given = f", given claim {check.given}" if check.given else ""
    if check.relation == "equal":
        return f"{check.metric}: {left} = {right} ± {check.margin:g}{given}"
    shift = check.margin if check.relation == "higher" else -check.margin
    words = f" {'+' if shift > 0 else '-'} {abs(shift):g}" if shift else ""
    return f"{check.metric}: {left} {'>' if check.relation == 'higher' else '<'} {right}{words}{given}"


def effect_text(part: Part) -> str:
    """``-2.04 [-2.5, -1.6], n = 3, p = 0.003 (paired t)``, or why there is none."""
    if part.effect is None:
        return part.note
    text = f"{part.effect + 0.0:+.3g}"
    if part.low is not None:
        text += f" [{part.low + 0.0:+.3g}, {part.high + 0.0:+.3g}]"
    text += f", n = {part.n}"
    if part.p is None:
        return f"{text}, {part.note}"
    text += f", p {'< 0.001' if part.p < 0.001 else f'= {part.p:.3f}'} ({part.test})"
    return f"{text}; {part.note}" if part.note else text


def tuning_text(part: Part) -> str:
    """``options: paper against defaults of 36 trials, unequal``: how those of the sides were found; empty where not run."""
    if len(part.found) < 2:
        return "".join(f"options: {words}" for words in part.found)
    return f"options: {' against '.join(part.found)}, {'equal' if len(set(part.trials)) == 1 else 'unequal'} budgets of tuning"


def part_text(part: Part) -> str:
    """What was found on a task: :func:`effect_text` and :func:`tuning_text`."""
    return "; ".join(filter(None, (effect_text(part), tuning_text(part))))


def claim_text(entry: Entry) -> str:
    """The claim; marked where it is not the paper's."""
    return f"(ours) {entry.claim.text}" if entry.claim.ours else entry.claim.text


def _lines(entry: Entry) -> tuple[str, str]:
    """What was tested, and what was found: a line for each task."""
    if not entry.parts:
        return (f"missing: {entry.note}" if entry.note else ""), ""
    tested = f"{relation_text(entry.claim.check)}, {entry.claim.check.budget}"
    several = len(entry.parts) > 1
    return tested, "\n".join(f"{part.task}: {f'{part.status}; ' if several else ''}{part_text(part)}" for part in entry.parts)


def _row(entry: Entry) -> tuple[str, ...]:
    """The entry under HEAD."""
    return f"{entry.paper.number} {entry.paper.slug}", claim_text(entry), entry.status, *_lines(entry)


def terminal(entries: Sequence[Entry], width: int = 0, every: bool = True) -> str:
    """The ledger as lines of at most ``width`` columns, 0 for any: first what was tested, then ``every`` other claim, or their number."""
    tested = [entry for entry in entries if entry.status not in UNTESTED]
    others = [entry for entry in entries if entry.status in UNTESTED]
    lines, paper = markup.fold(summary_text(entries), width), None
    for entry in [*tested, *(others if every else ())]:
        if entry.paper.number != paper:
            paper = entry.paper.number
            lines += ["", *markup.fold(f"{paper} {entry.paper.slug}: {entry.paper.title}", width)]
        tested_as, found = _lines(entry)
        wide = len(entry.status) if entry.status in UNTESTED else max(map(len, STATUSES[:3]))
        indent = " " * (wide + 4)
        lines += markup.fold(claim_text(entry), width, f"  {entry.status:{wide}}  ", indent)
        for text in (tested_as, *found.split("\n")):
            lines += markup.fold(text, width, indent, indent + "  ") if text else []
    if others and not every:
        text = f"and {len(others)} that are not implemented or not run: elboard claims not-implemented, not-run or a paper"
        lines += ["", *markup.fold(text, width)]
    return "\n".join([*lines, "", *markup.fold(LEGEND, width), ""])


def flat(entries: Sequence[Entry]) -> dict[str, Any]:
    """What JSON holds: the counts by status and a dict for each claim."""
    claims = []
    for entry in entries:
        about = {
            "paper": entry.paper.number,
            "slug": entry.paper.slug,
            "number": entry.number,
            "claim": entry.claim.text,
            "ours": entry.claim.ours,
        }
        found = {"status": entry.status, "note": entry.note, "check": asdict(entry.claim.check) if entry.claim.check else None}
        claims.append({**about, **found, "parts": [asdict(part) for part in entry.parts]})
    return {"summary": summary(entries), "claims": claims}


def render(entries: Sequence[Entry], kind: str) -> str:
    """The ledger as text in the format ``kind``: md, with a row for each claim, or json."""
    if kind == "json":
        return json.dumps(flat(entries), indent=1, ensure_ascii=False) + "\n"
    return "\n".join([summary_text(entries), "", LEGEND, "", *markup.markdown(HEAD, map(_row, entries), HEAD), ""])
