"""Files that ship beside the lines of records: evidence, curves and pictures, below ``<family>/<data>/``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from elboard.bench.record import Record


def stem_of(record: Record) -> str:
    """How names of files beside begin: ``<method>-<attempt>``, which tells runs apart whatever their keys; up to its first dot."""
    return f"{record.spec['method']}-{record.attempt}".replace(".", "_")


def path_beside(file: Path, record: Record, what: str) -> Path:
    """Where ``what`` of the run of ``record`` (``npz``, ``curves.jsonl``, ``<picture>.png``) lies beside the lines of ``file``."""
    return file.with_suffix("") / f"{stem_of(record)}.{what}"


def all_beside(file: Path) -> dict[str, dict[str, Path]]:
    """The files beside the lines of ``file``: by :func:`stem_of` their run, by what they are."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(file.with_suffix("").glob("*.*")):
        stem, _, what = path.name.partition(".")
        found[stem][what] = path
    return found
