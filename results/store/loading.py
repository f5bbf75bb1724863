"""Whole records, from files and from archives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from elboard.bench import record as records
from elboard.bench.record import Record
from elboard.results.store import index
from elboard.results.store.files import read_all, shipped_files, tell
from elboard.results.store.homes import Home, homes


def load(root: Path | None, shipped: bool = True) -> list[Record]:
    """All valid records under ``root`` (``<key>/attempts/*.json``), archived ones included, and, with ``shipped``, those of the package.

    A file that is not a valid record is left out with a warning of one line; of more than five, five and the number of the rest are told.
    """
    left_out: list[str] = []
    found = [record for _, _, record in read_all(shipped_files() if shipped else [], left_out)]
    for home in homes(root):
        said: list[str] = []
        archived = _archived(home, said) if home.closed else None
        if archived is None:
            said = []
            archived = [record for _, _, record in read_all((home.folder / name for name in home.scan(said)), said)]
        found += archived
        left_out += said
    tell(left_out)
    return found


def _archived(home: Home, left_out: list[str]) -> list[Record] | None:
    """The records of an archive out of its parts, in the order of their files, or None if these do not hold them all."""
    with index.Reader() as reader:
        parts = reader.whole(home, "", left_out)
        if parts is None:
            return None
        try:
            texts: dict[str, str] = {}
            for part in parts:
                files, contents = reader.stored(part)
                texts |= zip((name for name, _ in files), contents, strict=True)
        except index.BrokenPart:
            return None
    return list(_parsed(home.folder, texts, left_out))


def _parsed(home: Path, texts: dict[str, str], left_out: list[str]) -> Iterator[Record]:
    for name in sorted(texts):
        try:
            yield records.parse(texts[name].encode("utf-8"), home / name)
        except records.InvalidRecord as error:
            left_out.append(str(error))
