"""Metrics that were added after records were made, computed from their evidence.

Records are immutable: the value is said about the record (:mod:`elboard.results.places`), by its digest and with how it was computed. Where
the digest is not the record's it counts for nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from elboard.bench import record as records
from elboard.bench.errors import UserError
from elboard.bench.evidence import number
from elboard.bench.identity import group_of
from elboard.bench.metrics.conventions import convention, of_examples
from elboard.bench.provenance import revision, versions
from elboard.results.places import Place, places_of_run
from elboard.results.said import backfilled, digest_of
from elboard.results.store import Group
from elboard.results.untrusted import InvalidEvidence, read_evidence
from elboard.results.verify import evidence_of, recomputed, task_of


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
    task = entry.load()
    if metric not in found:
        with evidence_of(entry):
            n = number(task.sets, metric, evidence)
        less = f", only {of_examples(metric, n)}" if n else ""
        raise UserError(f"{record.key}: the evidence of {entry.card.name} does not give {metric}{less}")
    if not math.isfinite(found[metric]):
        raise UserError(f"{record.key}: {metric} of the evidence is {found[metric]}")
    with evidence_of(entry):
        tolerance = task.tolerance(metric, evidence)
    tree = {
        "key": record.key,
        "digest": digest_of(record),
        "metric": metric,
        "value": found[metric],
        "tolerance": tolerance,
        "function": f"{task.measure.__func__.__module__}.{task.measure.__func__.__qualname__}",
        "commit": str(revision().get("commit", "")),
        "versions": dict(versions()),
        "when": records.now(),
    }
    return place.say("backfill", tree)


def filled(groups: Sequence[Group], root: Path | None) -> list[Group]:
    """``groups`` (of :func:`elboard.results.store.groups`) with the metrics computed later, which boards then show like any other."""
    later: dict[str, dict[tuple[str, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    folders = (root / "backfill").iterdir() if root is not None and (root / "backfill").is_dir() else ()
    for place in (place for folder in folders for place in places_of_run(root, folder.name)):
        metrics, record = backfilled(place), place.record
        if len(metrics) > len(record.metrics):
            later[group_of(record.identity)][record.key, record.attempt].update(metrics)
    return [_filled(group, later.get(group.group, {})) for group in groups]


def _filled(group: Group, later: Mapping[tuple[str, str], Mapping[str, float]]) -> Group:
    if not later:
        return group
    metrics = {**group.metrics}
    of_runs = [later.get(run, {}) for run in zip(group.keys, group.attempts, strict=True)]
    for name in sorted({name for values in of_runs for name in values}):
        own = metrics.get(name, np.full(group.n, np.nan))
        metrics[name] = np.array([values.get(name, before) for values, before in zip(of_runs, own.tolist(), strict=True)])
    values = {("cost", name): column for name, column in group.cost.items()} | {
        ("metrics", name): metrics[name] for name in sorted(metrics)
    }
    rest = group.of.rest()._replace(values=np.array([*values.values()]).reshape(-1, group.n))
    return replace(group, of=replace(group.of, names=(*values,), rest=lambda: rest, digest=""))
