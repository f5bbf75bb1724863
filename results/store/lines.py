"""Records that ship with the package: a file of JSON lines for each task, ``<family>/<data>.jsonl``, versions and budgets within.

A line is a record with what was said about it later, ``{"record": {...}, "verified": [...], "backfill": [...]}``; the record's digest
covers the record alone. Lines have one form and one order, so that a new record or verification changes one line. Evidence, curves and
pictures of one run of a configuration are enough; they lie beside (:mod:`elboard.results.beside`).
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.folders import kept_folder
from elboard.bench.record import Record
from elboard.results.beside import path_beside
from elboard.results.left_out import leaving_out
from elboard.results.said import backfilled, badge, verifications
from elboard.results.store.files import Item, Stat

SHIPPED = Path(__file__).parents[1] / "records"
KINDS = ("verified", "backfill")  # of what is said about a record


@dataclass(frozen=True)
class Line:
    """A record that ships with the package; ``tree`` is its line of ``file``, decoded."""

    file: Path
    record: Record
    tree: dict[str, Any] = field(repr=False)

    @property
    def evidence(self) -> Path | None:
        """Its evidence, where that is kept."""
        file = path_beside(self.file, self.record, "npz")
        return file if file.is_file() else None

    def said(self, kind: str) -> list[Any]:
        """What is said about it, of ``kind`` "verified" or "backfill"."""
        return self.tree.get(kind, [])

    def say(self, kind: str, about: Mapping[str, Any]) -> Path:
        """Add ``about`` to what is said. Returns the file. Raises OSError."""
        self.tree[kind] = [*self.said(kind), about]
        from elboard.results.shipping import write_lines

        write_lines(self.file, [self.tree])
        return self.file


@dataclass(frozen=True)
class Lines:
    """The files of lines below a folder, of the package or of another, with a cache in the user's."""

    folder: Path

    @property
    def cache(self) -> Path:
        """Where its cache lies, as far as it can be written."""
        return kept_folder() / f"records-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]}"

    def state(self) -> None:
        """It is no closed folder."""

    def scan(self, left_out: list[str], pattern: str = "") -> dict[str, Stat]:
        """The files of the task or family ``pattern``, of all if it is empty, names relative to the folder."""
        files: dict[str, Stat] = {}
        for file in boards_below(self.folder, pattern):
            with leaving_out(file, left_out):
                stat = file.stat()
                files[file.relative_to(self.folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
        return files

    def lines(self, name: str, stat: Stat, left_out: list[str]) -> list[Line]:
        """The valid lines of the file ``name``; a text for each other is added to ``left_out``."""
        with leaving_out(self.folder / name, left_out):
            found, invalid = _lines(self.folder / name, stat)
            left_out += invalid
            return found
        return []

    def read(self, name: str, stat: Stat, left_out: list[str]) -> list[Item]:
        """The records of :meth:`lines` with what is said about them."""
        found = []
        for line in self.lines(name, stat, left_out):
            metrics = backfilled(line) if line.said("backfill") else line.record.metrics
            found.append(Item(line.record, metrics, badge(line.record, verifications(line)) if line.said("verified") else "", name, stat))
        return found


def lines(pattern: str, left_out: list[str], folder: Path | None = None) -> list[Line]:
    """The valid lines of the task or family ``pattern``, of all if it is empty, below ``folder`` (of the package if None). What is invalid,
    truncated or unreadable is told to ``left_out``, a line each with the file and the number of the line."""
    of = Lines(folder or SHIPPED)
    return [line for file in of.scan(left_out, pattern).items() for line in of.lines(*file, left_out)]


def boards_below(folder: Path, pattern: str = "") -> list[Path]:
    """The files of the task or family ``pattern`` below ``folder``, of all if it is empty; sorted."""
    family, _, data = pattern.partition("/")
    if not pattern:
        return sorted(folder.glob("*/*.jsonl"))
    if "/" in data or {family, data} & {".", ".."}:  # names of tasks come from anyone's records
        return []
    return sorted((folder / family).glob(f"{glob.escape(data) or '*'}.jsonl"))


@lru_cache(maxsize=1024)
def _lines(file: Path, stat: Stat) -> tuple[list[Line], list[str]]:
    """The valid lines of ``file`` in the state ``stat``, read once for boards, badges and pages; a text for each other."""
    found, left_out = [], []
    for number, text in enumerate(file.read_bytes().splitlines(), 1):
        try:
            tree = json.loads(text.decode("utf-8"), parse_constant=records.no_constant)
            if not isinstance(tree, dict) or not all(isinstance(tree.get(kind, []), list) for kind in KINDS):
                raise ValueError("not a record with what is said about it")
            found.append(Line(file, Record.from_dict(tree.get("record")), tree))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            left_out.append(f"{file}:{number}: not valid JSON, perhaps truncated; it is left out")
        except ValueError as error:
            left_out.append(f"{file}:{number}: {error}; it is left out")
    return found, left_out
