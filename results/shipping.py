"""Writing records that ship with the package, in the form that :mod:`elboard.results.store.lines` reads, and the files beside them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.record import Record
from elboard.results.beside import all_beside, stem_of
from elboard.results.store.lines import KINDS, lines


def encoded(tree: Mapping[str, Any]) -> str:
    """The line of ``tree``: its record in the form whose digest it states, then the rest."""
    rest = json.dumps({kind: tree[kind] for kind in KINDS if tree.get(kind)}, separators=(",", ":"), sort_keys=True)
    return f'{{"record":{records.canonical(tree["record"])}{"," if len(rest) > 2 else ""}{rest[1:]}'


def board_file(record: Record, folder: Path) -> Path:
    """The file below ``folder`` whose lines the record belongs to."""
    return folder / f"{record.spec['task']}.jsonl"


def write_lines(file: Path, trees: Iterable[Mapping[str, Any]], without: Collection[str] = ()) -> None:
    """Add lines to ``file``, in place of those of the same attempts; others stay as they are, but for those of the runs ``without``, whose
    files beside go too. Raises OSError."""
    gone = [line for line in lines(f"{file.parent.name}/{file.stem}", [], file.parents[1]) if line.record.key in without] if without else []
    texts = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    attempts = {_order(encoded(line.tree)) for line in gone}
    kept = [text for text in texts if _order(text) not in attempts]
    of_place = {_order(text): text for text in [*kept, *map(encoded, trees)] if text}
    records.write_text_atomically(file, "".join(f"{of_place[place]}\n" for place in sorted(of_place)))
    for path in (path for line in gone for path in all_beside(file).get(stem_of(line.record), {}).values()):
        path.unlink(missing_ok=True)


def _order(text: str) -> tuple:
    """The place of a line among others: runs that differ in their seed alone follow each other; what is no record is last."""
    try:
        tree = json.loads(text)["record"]
        spec = tree["spec"]
        return 0, *(str(spec[name]) for name in ("task_version", "budget", "method")), int(spec["seed"]), tree["key"], str(tree["attempt"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return 1, text
