"""Records of a folder of runs: one JSON file for each attempt, ``<root>/<key>/attempts/<attempt>.json``, immutable and sealed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elboard.bench import record as records
from elboard.bench.record import ARCHIVE, Record
from elboard.results.left_out import leaving_out

INDEX = ".index"  # below a folder of runs: what can be made again
Stat = tuple[int, int]  # size in bytes, modification time in ns


class Item(NamedTuple):
    """A record, its metrics and those that were computed later, its badge (empty where nothing was said of it), and where that is said."""

    record: Record
    metrics: Mapping[str, float]
    badge: str = ""
    file: str = ""
    stat: Stat = (0, 0)


@dataclass(frozen=True)
class Runs:
    """A folder of runs. ``closed``: an archive, to which :func:`elboard.results.store.pack` alone moves runs: a cache can hold all."""

    folder: Path
    closed: bool = False

    @property
    def cache(self) -> Path:
        """Where its cache lies."""
        return self.folder / INDEX

    def state(self) -> list[int] | None:
        """What tells that a run was moved into a closed folder or out of it; None of another. Raises OSError."""
        stat = os.stat(self.folder)
        return [stat.st_mtime_ns, stat.st_nlink, stat.st_size] if self.closed else None

    def scan(self, left_out: list[str], pattern: str = "") -> dict[str, Stat]:
        """The files of records, names relative to the folder; nothing is opened, so they are of any task. A line for ``left_out`` for
        each folder that cannot be read."""
        files: dict[str, Stat] = {}
        keys = sorted(entry.name for entry in os.scandir(self.folder) if entry.name[0] != "." and entry.name != ARCHIVE)
        for key in keys:
            folder = f"{self.folder}/{key}/attempts"
            with leaving_out(folder, left_out), os.scandir(folder) as entries:
                for entry in entries:
                    if records.is_record_file(entry.name):
                        stat = entry.stat()
                        files[f"{key}/attempts/{entry.name}"] = (stat.st_size, stat.st_mtime_ns)
        return files

    def read(self, name: str, stat: Stat, left_out: list[str]) -> list[Item]:
        """The record in the file ``name``; a line for ``left_out`` where there is none."""
        with leaving_out(self.folder / name, left_out):
            record = records.read(self.folder / name)
            return [Item(record, record.metrics, "", name, stat)]
        return []


def folders_of(root: Path | None) -> list[Runs]:
    """The folders of runs that belong to ``root``: itself and its archive."""
    folders = [] if root is None else [Runs(Path(root)), Runs(Path(root) / ARCHIVE, closed=True)]
    return [runs for runs in folders if runs.folder.is_dir()]
