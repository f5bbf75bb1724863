"""Records: the immutable result of one attempt at a run, written once, validated when read."""

from __future__ import annotations

import datetime
import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
STATUSES = ("done", "failed")
FAILURES = ("bug", "nan", "oom", "timeout", "killed", "infra")


@dataclass(frozen=True)
class Record:
    """One attempt at a run.

    Attributes:
        spec: ``RunSpec.to_dict()``; ``key`` is its hash.
        metrics: metric key -> value; ``primary`` names the one that orders the board.
        failure: ``{"class", "message", "log"}`` of a failed attempt, class one of bug, nan, oom, timeout, killed, infra.
        cost: wall_s, train_s, evaluate_s, cpu_s, peak_memory_mib, parameters, flops_per_example (forward and backward) and so on.
        provenance: software versions, git commit and dirty flag, hardware, data checksums.
        files: names of evidence and pictures, relative to the run's folder.
    """

    key: str
    attempt: str
    status: str
    spec: dict
    metrics: dict[str, float] = field(default_factory=dict)
    primary: str = ""
    failure: dict[str, str] = field(default_factory=dict)
    started: str = ""
    ended: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    schema: int = SCHEMA


def now() -> str:
    """The time in UTC, as records state it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def new_attempt() -> str:
    """A fresh attempt id."""
    return uuid.uuid4().hex[:12]


def effective(found: Iterable[Record]) -> Record | None:
    """The record that counts of several attempts at one run: the newest finished one, else the newest failed one; by id among equals."""
    return max(found, key=lambda record: (record.status == "done", record.ended, record.attempt), default=None)


class InvalidRecord(ValueError):
    """A file that is not a valid record; the message names the file and what is wrong."""


def _plain(tree: Any) -> Any:
    """JSON has no NaN or infinity: they are written as text."""
    if isinstance(tree, Mapping):
        return {str(name): _plain(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return str(tree)
    return tree


def write_text_atomically(path: Path, text: str) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, rename it: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(record: Record, path: Path) -> None:
    """Write ``record`` as JSON, atomically."""
    write_text_atomically(path, json.dumps(_plain(asdict(record)), indent=1, sort_keys=True, allow_nan=False) + "\n")


def read(path: Path) -> Record:
    """Read and validate. Raises InvalidRecord with one line."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        raise InvalidRecord(f"{path}: not valid JSON, perhaps truncated; it is left out") from None
    try:
        validate(tree)
    except ValueError as error:
        raise InvalidRecord(f"{path}: {error}; it is left out") from None
    return Record(**tree)


def validate(tree: Any) -> None:
    """Check a decoded record against the schema. Raises ValueError saying what is wrong."""
    if not isinstance(tree, dict):
        raise ValueError("not a record")
    if tree.get("schema") != SCHEMA:
        raise ValueError(f"schema {tree.get('schema')!r} is not the known {SCHEMA}")
    fields = Record.__dataclass_fields__
    unknown, missing = set(tree) - set(fields), {"key", "attempt", "status", "spec"} - set(tree)
    if unknown or missing:
        raise ValueError(f"unknown fields {sorted(unknown)}" if unknown else f"fields {sorted(missing)} are missing")
    if tree["status"] not in STATUSES:
        raise ValueError(f"status {tree['status']!r} is none of {', '.join(STATUSES)}")
    if tree["status"] == "failed" and tree["failure"].get("class") not in FAILURES:
        raise ValueError(f"failure class {tree['failure'].get('class')!r} is none of {', '.join(FAILURES)}")
    if tree["status"] == "done":
        _validate_metrics(tree)
    from bench.config import RunSpec

    try:
        key = RunSpec.from_dict(tree["spec"]).key
    except (KeyError, TypeError):
        raise ValueError("its specification is incomplete") from None
    if key != tree["key"]:
        raise ValueError(f"its key {tree['key']} is not the hash {key} of its specification")


def _validate_metrics(tree: dict) -> None:
    from bench.metrics.conventions import in_range

    metrics = tree.get("metrics")
    if not isinstance(metrics, dict) or not metrics:
        raise ValueError("a finished record without metrics")
    if tree.get("primary") not in metrics:
        raise ValueError(f"its primary metric {tree.get('primary')!r} is not among its metrics")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"metric {name} is {value!r}, not a finite number")
        if not in_range(name, value):
            raise ValueError(f"metric {name} is {value}, outside its range")
