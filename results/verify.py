"""Verification of records: their metrics computed again from evidence, or by running the specification again.

Four badges, from the strongest: *re-run* (the specification was executed again and agreed), *recomputed* (the evidence gives the record's
metrics, the primary one among them), *claimed* (neither), and *disputed* (a verification of this very content disagrees). A verification
counts for the content that it checked alone: it names the record's digest.

Evidence is a submitter's word like the record: agreement shows that a number was computed by this code from those predictions, not that the
predictions are honest. Only a re-run shows that.
"""

from __future__ import annotations

import json
import statistics
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import of_examples
from elboard.bench.provenance import revision, versions
from elboard.bench.record import Record
from elboard.bench.registry import Entry, find
from elboard.results.evidence import all_beside, beside, in_runs

KINDS = ("recomputed", "rerun")
WIDTH = 3.0  # standard deviations of the seeds within which another machine's re-run agrees
SEEDS = 3  # fewer give no standard deviation to go by
RELATIVE = 1e-6  # what another machine's rounding may change where seeds do not differ at all
SAME_HARDWARE = ("machine", "system", "cpu", "gpu", "threads")


class Check(NamedTuple):
    """A metric of the record beside the value found now, and the absolute difference allowed."""

    claimed: float
    found: float
    tolerance: float
    ok: bool


@dataclass(frozen=True)
class Verification:
    """The outcome of checking one record.

    Attributes:
        digest: of the record's content that was checked.
        kind: "recomputed" from evidence or "rerun".
        checked: metric -> :class:`Check`.
        unchecked: metrics about which this verification says nothing.
        ok: whether all that was checked agrees; None where nothing could be checked.
        note: how it was compared, or why there is no verdict.
        commit, versions, when: of this verification, not of the record.
    """

    key: str
    attempt: str
    digest: str
    kind: str
    checked: dict[str, Check]
    unchecked: list[str]
    ok: bool | None
    note: str = ""
    commit: str = field(default_factory=lambda: str(revision().get("commit", "")))
    versions: dict[str, str] = field(default_factory=lambda: dict(versions()))
    when: str = field(default_factory=records.now)

    @property
    def largest(self) -> tuple[str, float]:
        """The metric farthest from its claim in units of its tolerance, and the absolute difference; ("", 0.0) if none is checked."""

        def strain(name: str) -> tuple[float, float]:
            of = self.checked[name]
            gap = abs(of.claimed - of.found)
            return (gap / of.tolerance if of.tolerance else float("inf") if gap else 0.0), gap

        name = max(self.checked, key=strain, default="")
        return (name, strain(name)[1]) if name else ("", 0.0)

    def proves(self, primary: str) -> bool:
        """Whether the metric ``primary``, or that of the subset which the evidence keeps, is among those checked."""
        return of_examples(primary) in map(of_examples, self.checked)

    def to_dict(self) -> dict:
        """As it is written: plain JSON, with the largest difference spelled out."""
        name, gap = self.largest
        checks = {metric: check._asdict() for metric, check in self.checked.items()}
        return {**asdict(self), "checked": checks, "largest_difference": {"metric": name, "value": gap}}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Verification:
        """Raises TypeError, KeyError or ValueError for what :meth:`to_dict` has not made."""
        fields = {name: value for name, value in tree.items() if name != "largest_difference"}
        if fields["kind"] not in KINDS or fields["ok"] not in (True, False, None) or not isinstance(fields["digest"], str):
            raise ValueError("not a verification")
        return cls(**{**fields, "checked": {name: Check(**check) for name, check in fields["checked"].items()}})


def digest_of(record: Record) -> str:
    """The digest of a record's content: of one that was read the digest that reading checked, of one not yet written that of sealing it."""
    return record.digest or records.seal(record).digest


def task_of(record: Record, paths: Sequence[Path] = ()) -> Entry:
    """The record's task as it is here. ``paths``: where else tasks lie; those that a record names are never imported from.

    Raises UserError for a failed record, an unknown task and another version of it.
    """
    if record.status != "done":
        raise UserError(f"{record.key}: a failed attempt has no metrics to verify")
    entry = find("task", record.spec["task"], tuple(paths))
    if entry.card.version != record.spec["task_version"]:
        raise UserError(f"{record.key}: {entry.card.name} is version {entry.card.version} here, not {record.spec['task_version']}")
    return entry


def recomputed(entry: Entry, evidence: Mapping[str, np.ndarray], metrics: Iterable[str]) -> dict[str, float]:
    """``Task.score`` of evidence from anywhere. Raises UserError where it is no evidence of the task."""
    try:
        return entry.load().score(evidence, list(metrics))
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError, MemoryError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"the evidence is none of {entry.card.name} ({reason})") from None


def verify(record: Record, evidence: Mapping[str, np.ndarray], paths: Sequence[Path] = ()) -> Verification:
    """Compute the metrics of ``record`` again from its evidence.

    A metric agrees within ``Task.tolerance``: 1e-9 unless the evidence is rounded. Those that evidence does not give are unchecked.

    Raises:
        UserError: a failed record, a task that is unknown or of another version here, evidence of another task.
    """
    entry = task_of(record, paths)
    found = recomputed(entry, evidence, record.metrics)
    task = entry.load()
    checks = {name: _check(record.metrics[name], found[name], task.tolerance(name, evidence)) for name in record.metrics if name in found}
    note = "" if checks else f"the evidence of {entry.card.name} gives none of its metrics"
    return _verification(record, "recomputed", checks, note)


def rerun(record: Record, folder: Path, peers: Iterable[Record] = (), paths: Sequence[Path] = ()) -> Verification:
    """Execute the specification of ``record`` again below ``folder``, which must not hold that run, and compare.

    * With the same versions of software and the same processor (and GPU), all metrics must agree bit by bit: that is what a seed promises.
    * Elsewhere rounding makes training take another course, as another seed would. A metric then agrees if |claimed - found| is at most
      3 standard deviations of the group's seeds (the same specification with other seeds, from ``peers``; the value found stands for the
      record's own seed, so that a wrong claim cannot widen its own interval), or 1e-6 of the value. With fewer than 3 seeds there is no
      verdict.

    Args:
        peers: records among which the other seeds of the group are found.

    Raises:
        UserError: a failed record, a task or method that is unknown or of another version here, a folder that holds the run.
    """
    from elboard.bench.run import execute

    task_of(record, paths)
    spec = _with_paths(RunSpec.from_dict(record.spec), tuple(str(path) for path in paths))
    method = find("method", spec.method, tuple(paths)).card
    if method.version != spec.method_version:
        raise UserError(f"{record.key}: {method.name} is version {method.version} here, not {spec.method_version}")
    if (folder / spec.key).exists():
        raise UserError(f"{folder / spec.key}: a re-run needs a fresh folder")
    again = execute(spec, folder)
    if again.status != "done":
        return _verification(record, "rerun", {}, f"the re-run failed ({again.failure['class']}): {again.failure['message']}")
    shared = [name for name in record.metrics if name in again.metrics]
    if _same_place(record, again):
        absent = [name for name in record.metrics if name not in again.metrics]
        checks = {name: _check(record.metrics[name], again.metrics[name], 0.0) for name in shared}
        lost = f"; the re-run has no {', '.join(absent)}" if absent else ""
        verification = _verification(record, "rerun", checks, f"bit by bit: same software and processor{lost}")
        return replace(verification, ok=verification.ok and not absent)
    others = _other_seeds(record, peers)
    if len(others) + 1 < SEEDS:
        return _verification(record, "rerun", {}, f"other software or processor, and {len(others) + 1} seeds: no spread to compare with")
    checks = {}
    for name in shared:
        values = [again.metrics[name], *(other.metrics[name] for other in others if name in other.metrics)]
        if len(values) >= SEEDS:
            allowed = max(WIDTH * statistics.stdev(values), RELATIVE * max(1.0, abs(again.metrics[name])))
            checks[name] = _check(record.metrics[name], again.metrics[name], allowed)
    return _verification(record, "rerun", checks, f"other software or processor: within {WIDTH:g} sd of {len(others) + 1} seeds")


def _check(claimed: float, found: float, tolerance: float) -> Check:
    return Check(claimed, found, tolerance, bool(np.isfinite(found) and abs(claimed - found) <= tolerance))


def _verification(record: Record, kind: str, checks: dict[str, Check], note: str) -> Verification:
    unchecked = [name for name in record.metrics if name not in checks]
    ok = all(check.ok for check in checks.values()) if checks else None
    return Verification(record.key, record.attempt, digest_of(record), kind, checks, unchecked, ok, note)


def _with_paths(spec: RunSpec, paths: tuple[str, ...]) -> RunSpec:
    bases = {role: tuple(_with_paths(run, paths) for run in runs) for role, runs in spec.bases.items()}
    return replace(spec, paths=paths, bases=bases)


def _same_place(record: Record, again: Record) -> bool:
    mine, theirs = (of.provenance.get("hardware", {}) for of in (record, again))
    same_software = record.provenance.get("versions") == again.provenance["versions"]
    return same_software and all(mine.get(name) == theirs.get(name) for name in SAME_HARDWARE)


def _other_seeds(record: Record, peers: Iterable[Record]) -> list[Record]:
    """One finished record for each other seed of the group of ``record``."""
    mine, found = RunSpec.from_dict(record.spec).configuration(), {}
    for peer in peers:
        other_seed = peer.spec["seed"] != record.spec["seed"] and (peer.spec["task"], peer.spec["method"]) == (
            record.spec["task"],
            record.spec["method"],
        )
        if other_seed and peer.status == "done" and RunSpec.from_dict(peer.spec).configuration() == mine:
            found[peer.spec["seed"]] = records.effective([peer, found.get(peer.spec["seed"], peer)])
    return list(found.values())


def write_verification(verification: Verification, record_path: Path) -> Path:
    """Write ``verification`` beside the record at ``record_path``, to a file that nothing overwrites, and return it.

    Where one of the same content, kind and verdict on the same metrics is there, that one is returned and nothing is written.
    """
    for file, known in verifications_at(record_path).items():
        if _says(known) == _says(verification):
            return file
    path = beside(record_path, "verified", "")
    if in_runs(record_path) or path.exists():
        path = beside(record_path, "verified", uuid.uuid4().hex[:12])
    records.write_text_atomically(path, json.dumps(verification.to_dict(), indent=1, sort_keys=True) + "\n")
    return path


def _says(verification: Verification) -> tuple:
    return verification.digest, verification.kind, verification.ok, set(verification.checked)


def verifications_at(record_path: Path) -> dict[Path, Verification]:
    """The verifications beside the record at ``record_path``; files that are none are passed over."""
    return verifications_in(all_beside(record_path, "verified"))


def verifications_in(files: Iterable[Path]) -> dict[Path, Verification]:
    """The verifications that ``files`` hold; what is none is passed over."""
    found = {}
    for file in files:
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            found[file] = Verification.from_dict(json.loads(file.read_text(encoding="utf-8")))
    return found
