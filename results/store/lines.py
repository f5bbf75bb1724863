"""Records that ship with the package: a file of JSON lines for each task, ``<family>/<data>.jsonl``, versions and budgets within.

A line is a record with what was said about it later, ``{"record": {...}, "verified": [...], "backfill": [...]}``; the record's digest
covers the record alone. Lines have one form and one order, so that a new record or verification changes one line. Evidence, curves and
pictures of one run of a configuration are enough; they lie beside, below ``<family>/<data>/`` (:func:`stem_of`).
"""

from __future__ import annotations

import gc
import glob
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.record import Record
from elboard.results.store.homes import Stat

SHIPPED = Path(__file__).parents[1] / "records"
STRICT = json.JSONDecoder(parse_constant=records.no_constant)
HEAD = '{"record":{'
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
        write_lines(self.file, [self.tree])
        return self.file


def lines(pattern: str, left_out: list[str], folder: Path | None = None) -> list[Line]:
    """The valid lines of the task or family ``pattern``, of all if it is empty, below ``folder`` (of the package if None).

    What is invalid, truncated or unreadable is told to ``left_out``, a line each with the file and the number of the line.
    """
    found: list[Line] = []
    for file in boards_below(folder or SHIPPED, pattern):
        try:
            stat = file.stat()
            valid, invalid = _lines(file, (stat.st_size, stat.st_mtime_ns))
        except OSError as error:
            valid, invalid = [], [f"{file}: cannot be read ({error.strerror}); it is left out"]
        found += valid
        left_out += invalid
    return found


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
    content, collects = file.read_bytes(), gc.isenabled()
    gc.disable()  # all of it stays: to look through it for garbage, again and again, takes a quarter of the time
    for number, text in enumerate(content.splitlines(), 1):
        try:
            tree, digest = _decoded(text.decode("utf-8"))
            if not isinstance(tree, dict) or not all(isinstance(tree.get(kind, []), list) for kind in KINDS):
                raise ValueError("not a record with what is said about it")
            found.append(Line(file, Record.from_dict(tree.get("record"), digest), tree))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            left_out.append(f"{file}:{number}: not valid JSON, perhaps truncated; it is left out")
        except ValueError as error:
            left_out.append(f"{file}:{number}: {error}; it is left out")
    if collects:
        gc.enable()
    return found, left_out


def _decoded(text: str) -> tuple[Any, str]:
    """A line decoded, and the digest of its record's text, where that can be told from the rest."""
    if not text.startswith(HEAD):
        return STRICT.decode(text), ""
    record, end = STRICT.raw_decode(text, len(HEAD) - 1)
    rest = json.loads("{" + text[end:].removeprefix(","))
    unsealed = text[len(HEAD) - 1 : end].replace(f'"digest":"{record.get("digest")}",', "", 1)
    return {"record": record, **rest}, hashlib.sha256(unsealed.encode("utf-8")).hexdigest()


def _encoded(tree: Mapping[str, Any]) -> str:
    """The line of ``tree``: its record in the form whose digest it states, then the rest."""
    rest = json.dumps({kind: tree[kind] for kind in KINDS if tree.get(kind)}, separators=(",", ":"), sort_keys=True)
    return f"{HEAD[:-1]}{records.canonical(tree['record'])}{',' if len(rest) > 2 else ''}{rest[1:]}"


def board_file(record: Record, folder: Path) -> Path:
    """The file below ``folder`` whose lines the record belongs to."""
    return folder / f"{record.spec['task']}.jsonl"


def write_lines(file: Path, trees: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to ``file``, in place of those of the same attempts; others stay as they are. Raises OSError."""
    texts = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    of_place = {_order(text): text for text in [*texts, *map(_encoded, trees)] if text}
    records.write_text_atomically(file, "".join(f"{of_place[place]}\n" for place in sorted(of_place)))


def _order(text: str) -> tuple:
    """The place of a line among others: runs that differ in their seed alone follow each other; what is no record is last."""
    try:
        tree = json.loads(text)["record"]
        spec = tree["spec"]
        return 0, *(str(spec[name]) for name in ("task_version", "budget", "method")), int(spec["seed"]), tree["key"], str(tree["attempt"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return 1, text


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
