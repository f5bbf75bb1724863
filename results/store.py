"""Reading records: those of the runs' folder and those that ship with the package. Never imports torch."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench import record as records
from bench.config import RunSpec
from bench.record import Record

SHIPPED = Path(__file__).parent / "records"


def _files(root: Path | None, shipped: bool) -> Iterator[Path]:
    if shipped:
        yield from sorted(SHIPPED.rglob("*.json"))
    if root is not None and root.is_dir():
        yield from sorted(root.glob("*/attempts/*.json"))


def load(root: Path | None, shipped: bool = True) -> list[Record]:
    """All valid records under ``root`` (``<key>/attempts/*.json``) and, with ``shipped``, those of the package.

    A file that is not a valid record is left out with a warning of one line.
    """
    found = []
    for file in _files(root, shipped):
        try:
            found.append(records.read(file))
        except records.InvalidRecord as error:
            warnings.warn(str(error), stacklevel=2)
        except OSError as error:
            warnings.warn(f"{file}: cannot be read ({error.strerror}); it is left out", stacklevel=2)
    return found


def latest(found: Iterable[Record]) -> dict[str, Record]:
    """One record for each key, by the rule of :func:`bench.record.effective`."""
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in found:
        attempts[record.key].append(record)
    return {key: records.effective(of_key) for key, of_key in attempts.items()}


def spec_of(record: Record) -> RunSpec:
    """The specification of a record."""
    return RunSpec.from_dict(record.spec)
