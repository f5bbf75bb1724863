"""Records of a folder of runs: one JSON file for each attempt, ``<root>/<key>/attempts/<attempt>.json``, immutable and sealed."""

from __future__ import annotations

import gc
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from elboard.bench import record as records
from elboard.bench.record import ARCHIVE, Record

INDEX = ".index"  # below a folder of runs: what can be made again
SHOWN = 5  # warnings of one call, beside the count of the rest
Stat = tuple[int, int]  # size in bytes, modification time in ns


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looks for garbage, of which there is none where all that is made stays: they take up to a quarter of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Item(NamedTuple):
    """A record with what was said about it beside it: its badge, empty where nothing was, and the metrics computed later."""

    record: Record
    badge: str = ""
    later: dict[str, float] = {}


class Content(NamedTuple):
    """What a file holds: its valid records, and a line for each thing in it that is none."""

    name: str
    items: list[Item]
    invalid: list[str]


@dataclass(frozen=True)
class Runs:
    """A folder of runs. ``closed``: an archive, where runs come and go by :func:`elboard.results.store.pack` alone, so that an index can
    say that it holds them all."""

    folder: Path
    closed: bool = False
    index: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", self.folder / INDEX)

    def scan(self, left_out: list[str], pattern: str = "") -> dict[str, Stat]:
        """The files of records, names relative to the folder; nothing is opened, so they are of any task.

        A line for each folder that cannot be read is added to ``left_out``.
        """
        files: dict[str, Stat] = {}
        keys = sorted(entry.name for entry in os.scandir(self.folder) if entry.name[0] != "." and entry.name != ARCHIVE)
        for key in keys:
            try:
                with os.scandir(f"{self.folder}/{key}/attempts") as entries:
                    for entry in entries:
                        if records.is_record_file(entry.name):
                            stat = entry.stat()
                            files[f"{key}/attempts/{entry.name}"] = (stat.st_size, stat.st_mtime_ns)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                left_out.append(f"{self.folder}/{key}/attempts: cannot be read ({error.strerror}); it is left out")
        return files

    def read(self, names: Iterable[str]) -> Iterator[Content]:
        """What the files ``names`` hold."""
        for name in names:
            invalid: list[str] = []
            yield Content(name, [Item(record) for _, record in read_files([self.folder / name], invalid)], invalid)

    def state(self) -> list[int]:
        """What tells that a run was moved into a closed folder or out of it. Raises OSError."""
        stat = os.stat(self.folder)
        return [stat.st_mtime_ns, stat.st_nlink, stat.st_size]


def folders_of(root: Path | None) -> list[Runs]:
    """The folders of runs that belong to ``root``: itself and its archive."""
    folders = [] if root is None else [Runs(Path(root)), Runs(Path(root) / ARCHIVE, closed=True)]
    return [runs for runs in folders if runs.folder.is_dir()]


def read_files(files: Iterable[Path], left_out: list[str]) -> Iterator[tuple[Path, Record]]:
    """The valid ones of ``files`` with their records; a line for each other is added to ``left_out``."""
    for file in files:
        try:
            yield file, records.read(file)
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


def latest(attempts: Iterable[Record]) -> dict[str, Record]:
    """One record for each key, by the rule of :func:`elboard.bench.record.effective`."""
    by_key: dict[str, list[Record]] = defaultdict(list)
    for record in attempts:
        by_key[record.key].append(record)
    return {key: records.effective(of_key) for key, of_key in by_key.items()}
