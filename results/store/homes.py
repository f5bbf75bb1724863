"""Folders of records, each with the folder of its index."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from elboard.bench import record as records
from elboard.results.store import files
from elboard.results.store.files import Stat

FOLDER = ".index"
PACKAGE = "shipped"


@dataclass(frozen=True)
class Home:
    """A folder of runs: records are ``<key>/attempts/*.json`` below it.

    ``closed``: runs come and go by :func:`elboard.results.store.pack` alone, so that an index can say that it holds them all.
    """

    folder: Path
    index: Path
    closed: bool = False

    def scan(self, left_out: list[str]) -> dict[str, Stat]:
        """The files of records, names relative to the folder; nothing is opened.

        A line for each folder that cannot be read is added to ``left_out``.
        """
        found: dict[str, Stat] = {}
        keys = sorted(entry.name for entry in os.scandir(self.folder) if entry.name[0] != "." and entry.name != records.ARCHIVE)
        for key in keys:
            try:
                with os.scandir(f"{self.folder}/{key}/attempts") as entries:
                    for entry in entries:
                        if records.is_record_file(entry.name):
                            stat = entry.stat()
                            found[f"{key}/attempts/{entry.name}"] = (stat.st_size, stat.st_mtime_ns)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                left_out.append(f"{self.folder}/{key}/attempts: cannot be read ({error.strerror}); it is left out")
        return found

    def state(self) -> list[int | str]:
        """What tells that a run was moved into a closed folder or out of it. Raises OSError."""
        stat = os.stat(self.folder)
        return [stat.st_mtime_ns, stat.st_nlink, stat.st_size]


class Package(Home):
    """The records that ship with the package, with an index in a folder of runs: the package's own may be read-only.

    Another release, or a change to any file of a record or about one, is another state.
    """

    def scan(self, left_out: list[str]) -> dict[str, Stat]:
        return {name: stat for name, stat in self._stats().items() if records.is_record_file(name.rpartition("/")[2])}

    def state(self) -> list[int | str]:
        said = json.dumps([str(self.folder), sorted(self._stats().items())])
        return [hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()]

    def _stats(self) -> dict[str, Stat]:
        found = {}
        for name in files.texts_below(self.folder):
            stat = os.stat(name)
            found[name[len(str(self.folder)) + 1 :]] = (stat.st_size, stat.st_mtime_ns)
        return found


def homes(root: Path | None) -> list[Home]:
    """The folders of runs that belong to ``root``: itself and its archive."""
    if root is None:
        return []
    root = Path(root)
    archive = root / records.ARCHIVE
    found = [Home(root, root / FOLDER), Home(archive, archive / FOLDER, closed=True)]
    return [home for home in found if home.folder.is_dir()]


def package(root: Path) -> Package:
    """The records of the package, with the index of them that ``root`` holds."""
    return Package(files.SHIPPED, Path(root) / FOLDER / PACKAGE, closed=True)
