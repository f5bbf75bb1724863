"""Files of records that ship with the package, reading files, and saying which are left out."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.record import Record

SHIPPED = Path(__file__).parents[1] / "records"
SHOWN = 5  # warnings of one call, beside the count of the rest
Read = TypeVar("Read")
Stat = tuple[int, int]  # size in bytes, modification time in ns


def shipped_folder(pattern: str) -> Path:
    """Where the records of a task or family lie that ship with the package; all of them if ``pattern`` is empty."""
    inside = pattern and not {"", ".", ".."} & set(pattern.split("/"))  # names of tasks come from anyone's records
    return SHIPPED / pattern if inside or not pattern else SHIPPED / "none"


def shipped_files(pattern: str = "") -> list[Path]:
    """The files of the records that ship with the package, of the task or family ``pattern``."""
    return [file for file in shipped_texts(pattern) if records.is_record_file(file.name)]


def shipped_texts(pattern: str = "") -> list[Path]:
    """All JSON files of the package's records of the task or family ``pattern``: these, and what is said about them; sorted."""
    return list(map(Path, texts_below(shipped_folder(pattern))))


def texts_below(folder: Path) -> list[str]:
    """The paths of all JSON files below ``folder``, sorted."""
    found = os.walk(folder)  # pathlib takes several times as long
    return sorted(f"{place}/{name}" for place, _, names in found for name in names if name.endswith(".json"))


def shipped(file: Path) -> Record:
    """:func:`elboard.bench.record.read` of a file that ships with the package; each is read once, for boards and for badges."""
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


def latest(found: Iterable[Record]) -> dict[str, Record]:
    """One record for each key, by the rule of :func:`elboard.bench.record.effective`."""
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in found:
        attempts[record.key].append(record)
    return {key: records.effective(of_key) for key, of_key in attempts.items()}


def spec_of(record: Record) -> RunSpec:
    """The specification of a record."""
    return RunSpec.from_dict(record.spec)
