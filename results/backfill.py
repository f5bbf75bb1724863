"""Metrics that were added after records were made, computed from their evidence.

Records are immutable: the value is said about the record (:mod:`elboard.results.places`), by its digest and with how it was computed. Where
the digest is not the record's it counts for nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np

from elboard.bench import record as records
from elboard.bench.errors import UserError
from elboard.bench.evidence import number
from elboard.bench.identity import group_of
from elboard.bench.metrics.conventions import convention, in_range, of_examples
from elboard.bench.provenance import revision, versions
from elboard.results.places import Place, places_of_run
from elboard.results.store import Group
from elboard.results.store.lines import lines
from elboard.results.untrusted import InvalidEvidence, read_evidence
from elboard.results.verify import digest_of, recomputed, task_of


def backfill(place: Place, metric: str, paths: Sequence[Path] = ()) -> Path | None:
    """Compute ``metric`` of the record at ``place`` from its evidence and say it of the record.

    The value has the rounding of the evidence, which is stated as ``tolerance`` (``Task.tolerance``).

    Args:
        metric: a key with its parameters, of :mod:`elboard.bench.metrics.conventions`.
        paths: where tasks lie besides the package.

    Returns:
        The file that says it; None where the record has the metric, or has been given it before.

    Raises:
        UserError: no such metric, no evidence, or evidence that does not give it; a failed record, a task of another version.
    """
    convention(metric)
    record = place.record
    if metric in backfilled(place):
        return None
    entry = task_of(record, paths)
    file = place.evidence
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
    return place.say("backfill", tree)


def backfilled(place: Place) -> dict[str, float]:
    """The metrics of the record at ``place`` together with those computed later; the record's own come first and win.

    What names another digest, or is no possible value, is passed over.
    """
    digest, later = digest_of(place.record), {}
    for tree in place.said("backfill"):
        with suppress(ValueError, TypeError, KeyError, UserError):
            if tree["digest"] == digest and math.isfinite(tree["value"]) and in_range(tree["metric"], tree["value"]):
                later[tree["metric"]] = float(tree["value"])
    return later | place.record.metrics


def filled(groups: Sequence[Group], root: Path | None, shipped: bool = True) -> list[Group]:
    """``groups`` (of :func:`elboard.results.store.groups`) with the metrics computed later, which boards then show like any other."""
    later: dict[str, dict[tuple[str, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    tasks = sorted({group.task for group in groups}) if shipped else []
    places: list[Place] = [line for task in tasks for line in lines(task, []) if line.said("backfill")]
    if root is not None and (root / "backfill").is_dir():
        places += [place for folder in (root / "backfill").iterdir() for place in places_of_run(root, folder.name)]
    for place in places:
        metrics, record = backfilled(place), place.record
        if len(metrics) > len(record.metrics):
            later[group_of(record.identity)][record.key, record.attempt].update(metrics)
    return [_filled(group, later[group.group]) if group.group in later else group for group in groups]


def _filled(group: Group, later: dict[tuple[str, str], dict[str, float]]) -> Group:
    found = [later.get(run, {}) for run in zip(group.keys, group.attempts, strict=True)]
    names = sorted({name for values in found for name in values})
    metrics = dict(group.metrics)
    for name in names:
        own = metrics.get(name, np.full(len(found), np.nan))
        metrics[name] = np.array([values.get(name, before) for values, before in zip(found, own.tolist(), strict=True)])
    return Group(**{**{field.name: getattr(group, field.name) for field in fields(Group)}, "metrics": metrics})
