"""The cache of a source of records: one Parquet file, read with DuckDB in memory. It can be deleted at any time.

A row is all attempts with one setting, their columns and their values as bytes; of each attempt it says from which file it is, and
that file's size and modification time. The file is named by the hash of its content, so that one that is truncated, damaged or foreign is
no cache; it appears whole and never changes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from elboard.bench.record import flush, sweep_up
from elboard.results.store.groups import COLUMNS, FILE, Attempts, grouped

NUMBER = np.dtype("<f8")  # of values
SAID = ("name", "setting", "digest", "names", "number")  # of a row, beside COLUMNS
LAYOUT = "elboard-12"  # the key of what the file says beside its rows


def read(folder: Path, left_out: list[str], pattern: str = "", state: list[int] | None = None) -> tuple[list[Attempts], list[int] | None]:
    """What is cached in ``folder`` of the task or family ``pattern``, of all if it is empty, and the state of the closed folder all of
    whose records that is, else None. A line for ``left_out`` if it cannot be read. Of several writers' caches any is right, as readers
    compare the files; but for one that covers the ``state`` of the folder, whose attempts do not say their files."""
    broken = []
    for file in folder.glob("*.parquet"):
        import duckdb

        try:
            return _read(file, pattern, state)
        except (duckdb.Error, OSError, ValueError, TypeError):
            if not file.exists():  # another has taken its place
                return read(folder, left_out, pattern, state)
            broken = [f"{file}: truncated, or not of this cache; `elboard compact` makes it anew"]
    left_out += broken
    return [], None


def _read(file: Path, pattern: str, state: list[int] | None) -> tuple[list[Attempts], list[int] | None]:
    if _hash_of(file) != file.stem:
        raise ValueError("of another content")
    with connected() as connection:
        said = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = ?"
        ((text,),) = connection.execute(said, [str(file), LAYOUT]).fetchall()
        covers = json.loads(text)
        wanted = [name for name in COLUMNS if name not in FILE or covers is None or covers != state]
        rows = f"SELECT {', '.join((*SAID, *wanted))} FROM read_parquet(?) WHERE ? IN ('', task, split_part(task, '/', 1))"
        found = connection.execute(rows, [str(file), pattern]).fetchnumpy()
    names, *rest = (column.tolist() for column in found.values())
    parsed = json.loads(f"[{','.join(names)}]")  # all at once, in a fifth of the time
    return [_part(wanted, tuple(name), *row) for name, *row in zip(parsed, *rest, strict=True)], covers


def _part(wanted: Sequence[str], name: tuple, setting: str, digest: str, names: str, number: bytes, *columns: bytes) -> Attempts:
    values = np.frombuffer(number, NUMBER).reshape(-1, len(columns[wanted.index("seed")]) // 8)
    return Attempts(name, setting, dict(zip(wanted, columns, strict=True)), _names(names), values, digest)


@cache
def _names(names: str) -> tuple[tuple[str, str], ...]:
    return tuple(tuple(name) for name in json.loads(names))


def _digest(part: Attempts) -> str:
    """That of its group where each attempt is of a run of its own and none of a search, else an empty text."""
    of = grouped([part])
    return of[0].digest if of and of[0].n + of[0].failed == len(part) and of[0].of.names == part.names else ""


def _hash_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def connected() -> Any:
    """DuckDB in memory, for a ``with``. Its threads end with it: processes that fork later must not inherit them."""
    import duckdb

    offline = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "preserve_insertion_order": "true"}
    connection = duckdb.connect(config=offline)
    return connection.execute("SET enable_progress_bar = false")  # which it would print among a table's lines


def write(folder: Path, parts: Sequence[Attempts], covers: list[int] | None) -> None:
    """Make ``parts`` the cache in ``folder``, in place of those there. It appears whole or not at all. Raises OSError."""
    sweep_up(folder)
    former, draft = {*folder.glob("*.parquet")}, folder / f".cache.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if parts:
            _copy(parts, covers, draft)
            flush(draft)
            former.discard(draft.rename(folder / f"{_hash_of(draft)}.parquet"))
    finally:
        draft.unlink(missing_ok=True)
    flush(folder)
    for file in former:
        file.unlink(missing_ok=True)


def _copy(parts: Sequence[Attempts], covers: list[int] | None, file: Path) -> None:
    """Write the Parquet file."""
    parts = [part.take(np.argsort(part.column("seed"), kind="stable")) for part in parts]
    columns: dict[str, list] = {"task": [part.name[0] for part in parts], "setting": [part.setting for part in parts]}
    columns |= {"number": [part.values.astype(NUMBER).tobytes() for part in parts], "digest": [*map(_digest, parts)]}
    columns |= {name: [json.dumps(getattr(part, name)) for part in parts] for name in ("name", "names")}
    columns |= {name: [part.column(name).astype(COLUMNS[name]).tobytes() for part in parts] for name in COLUMNS}
    path = str(file).replace("'", "''")  # COPY takes no parameters
    with connected() as connection:
        connection.register("parts", {name: np.array(of, object) for name, of in columns.items()})
        options = f"FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{'{LAYOUT}': '{json.dumps(covers)}'}}"
        connection.execute(f"COPY parts TO '{path}' ({options})")
