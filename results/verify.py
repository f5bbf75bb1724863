"""Verification of records: their metrics computed again from evidence, or by running the specification again.

Four badges, from the strongest: *re-run* (the specification was executed again and agreed), *recomputed* (the evidence gives the record's
metrics, the primary one among them), *claimed* (neither), and *disputed* (a verification of this very content disagrees). A verification
counts for the content that it checked alone: it names the record's digest.

Evidence is a submitter's word like the record: agreement shows that a number was computed by this code from those predictions, not that the
predictions are honest. Only a re-run shows that.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elboard.bench import legacy
from elboard.bench import record as records
from elboard.bench.config import RunSpec, restated
from elboard.bench.errors import UserError
from elboard.bench.identity import configuration, difference, group_of
from elboard.bench.record import Record
from elboard.bench.registry import Entry, find
from elboard.results.places import Place, places_of_run
from elboard.results.said import Check, Verification, badge, digest_of, verifications
from elboard.results.store.lines import lines
from elboard.results.untrusted import one_line

if TYPE_CHECKING:
    from elboard.results.store import Group

WIDTH = 3.0  # standard deviations of the seeds within which another machine's re-run agrees
SEEDS = 3  # fewer give no standard deviation to go by
RELATIVE = 1e-6  # what another machine's rounding may change where seeds do not differ at all
DEARER = 30  # keys of groups, of before too, are found in the time in which one record is read
SAME_HARDWARE = ("machine", "system", "cpu", "gpu", "threads")


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


def check_identity(record: Record, paths: Sequence[Path] = ()) -> None:
    """Raises UserError where the tree of a record's key does not name the options in which its configuration differs from what the code of
    its versions declares. Says nothing of versions, and of code from outside, that are not here."""
    try:
        again = restated(record.run(), paths).identity()
    except UserError:
        return
    leaves = difference(record.identity, again)
    code = any(name.startswith("code.") or ".code." in name for name in leaves)
    if leaves and not code and "schema" not in record.identity:
        name, (said, found) = next(iter(leaves.items()))
        raise UserError(f"{record.key}: {name} is {said!r:.60} in its identity, {found!r:.60} by its configuration")


def recomputed(entry: Entry, evidence: Mapping[str, np.ndarray], metrics: Iterable[str]) -> dict[str, float]:
    """``Task.score`` of evidence from anywhere. Raises UserError where it is no evidence of the task."""
    with evidence_of(entry):
        return {key: float(value) for key, value in entry.load().score(evidence, list(metrics)).items()}


@contextmanager
def evidence_of(entry: Entry) -> Iterator[None]:
    """Raises UserError for whatever a task raises on arrays that are not those that it made."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the evidence is none of {entry.card.name} ({one_line(f'{type(error).__name__}: {error}')})") from None


def verify(record: Record, evidence: Mapping[str, np.ndarray], paths: Sequence[Path] = ()) -> Verification:
    """Compute the metrics of ``record`` again from its evidence.

    A metric agrees within ``Task.tolerance``: 1e-9 unless the evidence is rounded. Those that evidence does not give are unchecked.

    Raises:
        UserError: a failed record, a task that is unknown or of another version here, evidence of another task.
    """
    entry = task_of(record, paths)
    check_identity(record, paths)
    found = recomputed(entry, evidence, record.metrics)
    task = entry.load()
    names = [name for name in record.metrics if name in found]
    with evidence_of(entry):
        checks = {name: _check(record.metrics[name], found[name], task.tolerance(name, evidence)) for name in names}
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
    check_identity(record, paths)
    try:
        spec = restated(record.run(), paths)
    except UserError as error:
        raise UserError(f"{record.key}: {error}") from None
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


def _same_place(record: Record, again: Record) -> bool:
    mine, theirs = (of.provenance.get("hardware", {}) for of in (record, again))
    same_software = record.provenance.get("versions") == again.provenance["versions"]
    return same_software and all(mine.get(name) == theirs.get(name) for name in SAME_HARDWARE)


def _other_seeds(record: Record, peers: Iterable[Record]) -> list[Record]:
    """One finished record for each other seed of the group of ``record``."""
    mine, found = configuration(record.identity), {}
    for peer in peers:
        if peer.spec["seed"] != record.spec["seed"] and peer.status == "done" and configuration(peer.identity) == mine:
            found[peer.spec["seed"]] = records.effective([peer, found.get(peer.spec["seed"], peer)])
    return list(found.values())


def write_verification(verification: Verification, place: Place) -> Path | None:
    """Say ``verification`` of the record at ``place``; the file, or None where the same was said before. Raises OSError.

    The same is one of the same content, kind and verdict on the same metrics.
    """
    if any(_says(known) == _says(verification) for known in verifications(place)):
        return None
    return place.say("verified", verification.beside(place.record))


def _says(verification: Verification) -> tuple:
    return verification.digest, verification.kind, verification.ok, set(verification.checked)


def badges(root: Path | None, shipped: bool, among: Sequence[Group]) -> dict[str, dict[str, str]]:
    """The badges of the finished runs of ``among`` that have a verification, in the runs' folder or the package, by group and key.

    That of a run is the one of the record that counts. Others are claimed. Reads the records of the runs that the folder says have one.
    """
    found = {
        group.group: {key: word for key, word in zip(group.keys, group.badges, strict=True) if word}
        for group in among
        if group.of.badged  # most are not
    }
    places: dict[str, list[Place]] = defaultdict(list)
    for place in (place for key in _verified(root, among) for place in places_of_run(root, key)):
        places[place.record.key].append(place)
    tasks = {place.record.spec["task"] for of_run in places.values() for place in of_run} if shipped else ()
    for line in (line for task in sorted(tasks) for line in lines(task, []) if line.record.key in places):
        places[line.record.key].insert(0, line)
    wanted = {group.group for group in among}
    for attempts in places.values():
        best = records.effective(place.record for place in attempts)
        if best.status == "done" and "trial" not in best.notes and group_of(best.identity) in wanted:
            said = [of for place in attempts if place.record.attempt == best.attempt for of in verifications(place)]
            found.setdefault(group_of(best.identity), {})[best.key] = badge(best, said)
    return found


def _verified(root: Path | None, among: Sequence[Group]) -> set[str]:
    """The keys of the folder of runs that have a verification, and may be runs of ``among``."""
    if root is None or not (root / "verified").is_dir():
        return set()
    keys = {folder.name for folder in (root / "verified").iterdir()}
    if len(keys) * DEARER > sum(group.n for group in among):
        own = {key for group in among for key in group.keys}
        old = {key for group in among if not keys <= own for key in _legacy_keys(group)}
        keys &= own | old
    return keys


def _legacy_keys(group: Group) -> Iterator[str]:
    """The keys that earlier releases gave the finished runs of ``group``."""
    first = RunSpec.joined(group.spec, {**group.identity, "seed": group.spec["seed"]})
    for seed in group.seeds.tolist():
        yield from legacy.keys_of(first.reseeded(seed))
