"""Folders of records, each with the folder of its index, and reading their files."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elboard.bench import record as records
from elboard.bench.record import Record

FOLDER = ".index"
SHOWN = 5  # warnings of one call, beside the count of the rest
Stat = tuple[int, int]  # size in bytes, modification time in ns


def read_all(
    files: Iterable[Path], left_out: list[str], read: Callable[[Path], bytes] = Path.read_bytes
) -> Iterator[tuple[Path, bytes, Record]]:
    """The valid ones of ``files`` with their content, which ``read`` gives; a line for each other is added to ``left_out``."""
    for file in files:
        try:
            content = read(file)
            yield file, content, records.parse(content, file)
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


def homes(root: Path | None) -> list[Home]:
    """The folders of runs that belong to ``root``: itself and its archive."""
    if root is None:
        return []
    root = Path(root)
    archive = root / records.ARCHIVE
    found = [Home(root, root / FOLDER), Home(archive, archive / FOLDER, closed=True)]
    return [home for home in found if home.folder.is_dir()]
