"""Loose records: where they lie, reading them, and saying which are left out."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from bench import record as records
from bench.config import RunSpec
from bench.record import Record

SHIPPED = Path(__file__).parents[1] / "records"
SHOWN = 5  # warnings of one call, beside the count of the rest
Read = TypeVar("Read")
Stat = tuple[int, int]  # size in bytes, modification time in ns


def scan(home: Path, left_out: list[str]) -> dict[str, Stat]:
    """The files of records ``<key>/attempts/*.json`` below ``home``, names relative to it; nothing is opened.

    A line for each folder that cannot be read is added to ``left_out``.
    """
    found: dict[str, Stat] = {}
    keys = sorted(entry.name for entry in os.scandir(home) if entry.name[0] != "." and entry.name != records.ARCHIVE)
    for key in keys:
        try:
            with os.scandir(f"{home}/{key}/attempts") as files:
                for file in files:
                    if records.is_record_file(file.name):
                        stat = file.stat()
                        found[f"{key}/attempts/{file.name}"] = (stat.st_size, stat.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            left_out.append(f"{home}/{key}/attempts: cannot be read ({error.strerror}); it is left out")
    return found


def shipped_folder(pattern: str) -> Path:
    """Where the records of a task or family lie that ship with the package; all of them if ``pattern`` is empty."""
    inside = pattern and not {"", ".", ".."} & set(pattern.split("/"))  # names of tasks come from anyone's records
    return SHIPPED / pattern if inside or not pattern else SHIPPED / "none"


def shipped_files(pattern: str = "") -> list[Path]:
    """The files of the records that ship with the package, of the task or family ``pattern``."""
    return sorted(file for file in shipped_folder(pattern).rglob("*.json") if records.is_record_file(file.name))


def shipped(file: Path) -> Record:
    """:func:`bench.record.read` of a file that ships with the package; each is read once, for boards and for badges."""
    stat = file.stat()
    return _shipped(file, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4096)
def _shipped(file: Path, stat: Stat) -> Record:
    return records.read(file)


def read_shipped(pattern: str, left_out: list[str]) -> list[Record]:
    """The valid ones of :func:`shipped_files`; a line for each other is added to ``left_out``."""
    return [record for _, record in _read(shipped_files(pattern), shipped, left_out)]


def read_all(files: Iterable[Path], left_out: list[str]) -> Iterator[tuple[Path, bytes, Record]]:
    """The valid ones of ``files`` with their content; a line for each other is added to ``left_out``."""

    def read(file: Path) -> tuple[bytes, Record]:
        content = file.read_bytes()
        return content, records.parse(content, file)

    for file, (content, record) in _read(files, read, left_out):
        yield file, content, record


def _read(files: Iterable[Path], read: Callable[[Path], Read], left_out: list[str]) -> Iterator[tuple[Path, Read]]:
    for file in files:
        try:
            yield file, read(file)
        except records.InvalidRecord as error:
            left_out.append(str(error))
        except FileNotFoundError:
            continue  # removed since it was listed
        except OSError as error:
            left_out.append(f"{file}: cannot be read ({error.strerror}); it is left out")


def tell(messages: list[str]) -> None:
    """Warn of each, of the first five where there are more, and how many more there are."""
    for message in messages[:SHOWN]:
        warnings.warn(message, stacklevel=3)
    if len(messages) > SHOWN:
        warnings.warn(f"... and {len(messages) - SHOWN} more are left out", stacklevel=3)


def homes(root: Path | None) -> list[Path]:
    """The folders of runs that belong to ``root``: itself and its archive."""
    return [] if root is None else [home for home in (Path(root), Path(root) / records.ARCHIVE) if home.is_dir()]


def latest(found: Iterable[Record]) -> dict[str, Record]:
    """One record for each key, by the rule of :func:`bench.record.effective`."""
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in found:
        attempts[record.key].append(record)
    return {key: records.effective(of_key) for key, of_key in attempts.items()}


def spec_of(record: Record) -> RunSpec:
    """The specification of a record."""
    return RunSpec.from_dict(record.spec)
