"""Metrics that were added after records were made, computed from their evidence.

Records are immutable: the value goes into a file of its own beside the record, which names the record's digest and says how it was
computed. A file whose digest is not the record's counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np

from elboard.bench import record as records
from elboard.bench.errors import UserError
from elboard.bench.evidence import number
from elboard.bench.metrics.conventions import convention, in_range, of_examples
from elboard.bench.provenance import revision, versions
from elboard.bench.record import Record
from elboard.results.evidence import InvalidEvidence, all_beside, all_beside_shipped, beside, evidence_of, in_runs, read_evidence
from elboard.results.store import Group
from elboard.results.store.files import shipped as shipped_record
from elboard.results.store.rows import group_of
from elboard.results.verify import digest_of, recomputed, task_of


def slug(metric: str) -> str:
    """A name for files: the key itself where it is plain, else its letters and a hash that tells keys apart."""
    plain = re.sub(r"[^a-z0-9_]+", "-", metric).strip("-")
    return plain if plain == metric else f"{plain}-{hashlib.sha256(metric.encode()).hexdigest()[:6]}"


def backfill(record_path: Path, metric: str, paths: Sequence[Path] = ()) -> Path | None:
    """Compute ``metric`` of the record at ``record_path`` from its evidence and write it beside the record.

    The value has the rounding of the evidence, which the file states as ``tolerance`` (``Task.tolerance``).

    Args:
        metric: a key with its parameters, of :mod:`elboard.bench.metrics.conventions`.
        paths: where tasks lie besides the package.

    Returns:
        The new file; None where the record has the metric, or has been given it before.

    Raises:
        UserError: no such metric, no evidence, or evidence that does not give it; a failed record, a task of another version.
        InvalidRecord: the file is no record.
    """
    convention(metric)
    record = records.read(record_path)
    if metric in backfilled(record_path, record):
        return None
    entry = task_of(record, paths)
    file = evidence_of(record_path)
    if file is None:
        raise UserError(f"{record.key}: has no evidence, so {metric} cannot be computed")
    try:
        evidence = read_evidence(file)
    except InvalidEvidence as error:
        raise UserError(f"{file}: {error}") from None
    found = recomputed(entry, evidence, [metric])
    if metric not in found:
        n = number(entry.load().sets, metric, evidence)
        less = f", only {of_examples(metric, n)}" if n else ""
        raise UserError(f"{record.key}: the evidence of {entry.card.name} does not give {metric}{less}")
    task = entry.load()
    tree = {
        "key": record.key,
        "digest": digest_of(record),
        "metric": metric,
        "value": found[metric],
        "tolerance": task.tolerance(metric, evidence),
        "function": f"{task.measure.__func__.__module__}.{task.measure.__func__.__qualname__}",
        "commit": str(revision().get("commit", "")),
        "versions": dict(versions()),
        "when": records.now(),
    }
    target = beside(record_path, "backfill", slug(metric))
    records.write_text_atomically(target, json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return target


def backfilled(record_path: Path, record: Record | None = None) -> dict[str, float]:
    """The metrics of the record at ``record_path`` together with those computed later; the record's own come first and win.

    Files that name another digest, or hold no possible value, are passed over. Raises InvalidRecord if the file is no record.
    """
    record = record or records.read(record_path)
    return {**record.metrics, **_later(record, all_beside(record_path, "backfill"))}


def _later(record: Record, files: Iterable[Path]) -> dict[str, float]:
    """What ``files`` add to the metrics of ``record``."""
    digest, later = digest_of(record), {}
    for file in files:
        with suppress(OSError, ValueError, TypeError, KeyError, UserError):
            tree = json.loads(file.read_text(encoding="utf-8"))
            if tree["digest"] == digest and math.isfinite(tree["value"]) and in_range(tree["metric"], tree["value"]):
                later[tree["metric"]] = float(tree["value"])
    return {name: value for name, value in later.items() if name not in record.metrics}


def filled(groups: Sequence[Group], root: Path | None, shipped: bool = True) -> list[Group]:
    """``groups`` (of :func:`elboard.results.store.groups`) with the metrics computed later, which boards then show like any other."""
    later: dict[str, dict[tuple[str, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for path, files in _with_backfills({group.task for group in groups}, root, shipped):
        with suppress(OSError, records.InvalidRecord):
            record = records.read(path) if in_runs(path) else shipped_record(path)
            new = _later(record, files)
            if new:
                later[group_of(record)][record.key, record.attempt].update(new)
    return [_filled(group, later[group.group]) if group.group in later else group for group in groups]


def _with_backfills(tasks: Iterable[str], root: Path | None, shipped: bool) -> Iterator[tuple[Path, list[Path]]]:
    """The files of records, of ``tasks`` where they ship with the package, with the files of backfilled metrics beside them."""
    if shipped:
        yield from all_beside_shipped(tasks, "backfill").items()
    if root is not None and (root / "backfill").is_dir():
        for folder in (root / "backfill").iterdir():
            yield from ((path, all_beside(path, "backfill")) for path in records.files_of(root / folder.name))


def _filled(group: Group, later: dict[tuple[str, str], dict[str, float]]) -> Group:
    found = [later.get(run, {}) for run in zip(group.keys, group.attempts, strict=True)]
    names = sorted({name for values in found for name in values})
    metrics = dict(group.metrics)
    for name in names:
        own = metrics.get(name, np.full(len(found), np.nan))
        metrics[name] = np.array([values.get(name, before) for values, before in zip(found, own.tolist(), strict=True)])
    return Group(**{**{field.name: getattr(group, field.name) for field in fields(Group)}, "metrics": metrics})
