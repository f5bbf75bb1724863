"""``verify``, ``submit``, ``review`` and ``backfill``."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError, nearest


def verify_command(keys: list[str], rerun: bool, out: Path | None, shipped: bool = True, paths: tuple[Path, ...] = ()) -> int:
    """Verify the runs whose keys begin with ``keys`` (all if empty, unless they are run again); one line a record.

    Returns 1 if any disagrees, else 0. Raises UserError for a beginning that no run has, and for ``rerun`` without keys.
    """
    from elboard.results.verify import write_verification

    if rerun and not keys:
        raise UserError("--rerun executes whole runs: name them, as in `elboard verify KEY --rerun`")
    counts: dict[str, int] = {}
    found = _chosen(keys, out, shipped)
    peers = [record for _, record in _chosen([], out, shipped)] if rerun else []
    for path, record in found:
        name = f"{record.key}  {record.spec['method']} on {record.spec['task']}, seed {record.spec['seed']}"
        verification = _rerun(record, peers, paths) if rerun else _recompute(path, record, paths)
        if isinstance(verification, str):
            state, said = "not checked", verification
        else:
            state = {True: "agrees", False: "DISAGREES", None: "not checked"}[verification.ok]
            said = _said(verification)
            try:
                write_verification(verification, path)
            except OSError as error:
                said += f" (not written: {error.strerror})"
        counts[state] = counts.get(state, 0) + 1
        print(f"{name}: {state}: {said}")
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no finished run")
    return int("DISAGREES" in counts)


def _chosen(keys: list[str], out: Path | None, shipped: bool) -> list[tuple[Path, Any]]:
    """File and record of each finished run whose key begins with one of ``keys``; of several attempts the one that counts.

    Raises UserError for a beginning that no run has.
    """
    from elboard.bench import record as records
    from elboard.bench.run import root_folder
    from elboard.results.evidence import evidence_of, record_files

    by_key: dict[str, dict[str, tuple[Path, Any]]] = {}
    for path in record_files(root_folder(out), shipped):
        try:
            record = records.read(path)
        except records.InvalidRecord as error:
            print(f"warning: {error}", file=sys.stderr)
            continue
        known = by_key.setdefault(record.key, {}).get(record.attempt)
        if known is None or evidence_of(known[0]) is None:
            by_key[record.key][record.attempt] = path, record
    for key in keys:
        if not any(known.startswith(key) for known in by_key):
            raise UserError(f"no run {key!r}: {nearest(key, by_key)}")
    best = [attempts[records.effective(record for _, record in attempts.values()).attempt] for attempts in by_key.values()]
    return [(path, record) for path, record in best if record.status == "done" and (not keys or record.key.startswith(tuple(keys)))]


def _recompute(path: Path, record: Any, paths: tuple[Path, ...]) -> Any:
    """A verification from evidence, or the reason why there is none."""
    from elboard.results.evidence import InvalidEvidence, evidence_of, read_evidence
    from elboard.results.verify import verify

    file = evidence_of(path)
    if file is None:
        return "it has no evidence"
    try:
        return verify(record, read_evidence(file), paths)
    except (InvalidEvidence, UserError) as error:
        return str(error)


def _rerun(record: Any, peers: list[Any], paths: tuple[Path, ...]) -> Any:
    from elboard.results.verify import rerun

    with tempfile.TemporaryDirectory(prefix="elboard-rerun-") as folder:
        try:
            return rerun(record, Path(folder), peers, paths)
        except UserError as error:
            return str(error)


def _said(verification: Any) -> str:
    word = {"recomputed": "recomputed from evidence", "rerun": "run again"}[verification.kind]
    total = len(verification.checked) + len(verification.unchecked)
    parts = [f"{len(verification.checked)} of {total} metrics {word}"] if verification.checked else []
    wrong = {name: check for name, check in verification.checked.items() if not check.ok}
    for name, check in list(wrong.items())[:3]:
        parts.append(f"{name} is {check.claimed:.6g} in the record, {check.found:.6g} now (allowed: {check.tolerance:.1g})")
    if len(wrong) > 3:
        parts.append(f"{len(wrong) - 3} more")
    if verification.checked and not wrong:
        name, gap = verification.largest
        parts.append(f"largest difference {gap:.1e} ({name})" if gap else "no difference")
    if verification.checked and verification.unchecked:
        shown = ", ".join(verification.unchecked[:4]) + (" ..." if len(verification.unchecked) > 4 else "")
        parts.append(f"unchecked: {shown}")
    return "; ".join([*parts, *([verification.note] if verification.note else [])])


def submit_command(folder: Path | None, target: Path) -> int:
    """Pack the finished runs of ``folder`` (default: the folder of runs) into a submission."""
    from elboard.bench.run import root_folder
    from elboard.results.submission import submit

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            path = submit(root_folder(folder), target)
        finally:
            for warning in heard:
                print(f"warning: {warning.message}", file=sys.stderr)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB; `elboard review {path}` shows what a reviewer will see")
    return 0


def review_command(file: Path, accept: bool, paths: tuple[Path, ...] = ()) -> int:
    """Print the report on a submission; with ``accept`` take in what passes. Returns 1 if anything is refused."""
    from elboard.results.submission import review

    report = review(file, accept, paths=paths)
    print("\n".join(report.lines()))
    return int(bool(report.refused))


def backfill_command(metric: str, task: str, out: Path | None, shipped: bool = True, paths: tuple[Path, ...] = ()) -> int:
    """Compute ``metric`` for the records of ``task`` (a task, a family, or all) that lack it. Returns 1 if one could not be given it."""
    from elboard.bench.metrics.conventions import convention
    from elboard.bench.registry import discover
    from elboard.results.backfill import backfill

    convention(metric)
    tasks = discover("task", paths)
    known = {*tasks, *(entry.card.family for entry in tasks.values())}
    if task and task not in known:
        raise UserError(f"no task or family {task!r}: {nearest(task, known)}")
    written = present = failed = 0
    for path, record in _chosen([], out, shipped):
        if task and task not in (record.spec["task"], record.spec["task"].split("/")[0]):
            continue
        try:
            file = backfill(path, metric, paths)
        except UserError as error:
            failed += 1
            print(f"not computed: {error}", file=sys.stderr)
            continue
        written, present = written + (file is not None), present + (file is None)
        if file is not None:
            print(f"written: {file}")
    print(f"{metric}: {written} computed now, {present} there before, {failed} not computed")
    return int(bool(failed))
