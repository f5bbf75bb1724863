"""The cache of a source of records: one Parquet file, read with DuckDB in memory. It can be deleted at any time.

A row is all attempts with one setting: what boards ask of all, and what they ask of the few that they show, which is read then; of each
also the file, its size and modification time. The file is named by the hash of its content, so that one that is truncated, damaged or
foreign is no cache; it appears whole and never changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import weakref
from collections.abc import Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from elboard.bench.record import flush, sweep_up
from elboard.results.store.groups import Attempts, Rest, grouped

NUMBER = np.dtype("<f8")  # of values
OF_ALL = ("name", "setting", "names", "n", "badged", "digest", "failed")  # of a row
OF_FEW = ("spec", "fields", "columns", "number")
LAYOUT = "elboard-13"  # the key of what the file says beside its rows


def read(folder: Path, left_out: list[str], pattern: str = "", state: list[int] | None = None) -> tuple[list[Attempts], list[int] | None]:
    """What is cached in ``folder`` of the task or family ``pattern`` (all if empty), and the state of the closed folder of all of whose
    records that is, else None. A line for ``left_out`` if it cannot be read. Of several writers' any is right: files are compared."""
    broken = []
    for file in folder.glob("*.parquet"):
        import duckdb

        try:
            return _Rows(file, pattern).attempts(state)
        except (duckdb.Error, OSError, ValueError, TypeError):
            if not file.exists():  # another has taken its place
                return read(folder, left_out, pattern, state)
            broken = [f"{file}: truncated, or not of this cache; `elboard compact` makes it anew"]
    left_out += broken
    return [], None


class _Rows:
    """Those of ``pattern`` in ``file``, which stays open: another may take its place before all of it is read."""

    def __init__(self, file: Path, pattern: str):
        number, self.pattern = os.open(file, os.O_RDONLY), pattern
        weakref.finalize(self, os.close, number)
        if _hash_of(number) != file.stem:
            raise ValueError("of another content")
        opened = f"/dev/fd/{number}"
        self.path = opened if os.path.exists(opened) else str(file)

    def select(self, columns: Sequence[str], connection: Any) -> list[tuple]:
        rows = f"SELECT {', '.join(columns)} FROM read_parquet(?) WHERE ? IN ('', task, split_part(task, '/', 1))"
        return connection.execute(rows, [self.path, self.pattern]).fetchall()

    def attempts(self, state: list[int] | None) -> tuple[list[Attempts], list[int] | None]:
        with connected() as connection:
            said = connection.execute("SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = ?", [self.path, LAYOUT])
            covers, rows = json.loads(said.fetchone()[0]), self.select(OF_ALL, connection)
            if covers is None or covers != state:
                self.later = self.select(OF_FEW, connection)
        parsed = json.loads(f"[{','.join(row[0] for row in rows)}]")  # all at once, in a fifth of the time
        lazily = ((tuple(name), row, partial(self.rest, i)) for i, (name, row) in enumerate(zip(parsed, rows, strict=True)))
        return [Attempts(name, setting, _pairs(names), n, rest, *more) for name, (_, setting, names, n, *more), rest in lazily], covers

    @cached_property
    def later(self) -> list[tuple]:
        with connected() as connection:
            return self.select(OF_FEW, connection)

    def rest(self, i: int) -> Rest:
        spec, fields, columns, number = self.later[i]
        made = np.frombuffer(columns, [*_pairs(fields)])
        return Rest(spec, made, np.frombuffer(number, NUMBER).reshape(-1, len(made)))


@cache
def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(map(tuple, json.loads(text)))


def _row(part: Attempts) -> dict[str, str | int | bytes]:
    of = next(iter(grouped([part])), None)
    known = of and of.n and of.n + of.failed == part.n and of.of.names == part.names
    row = {"task": part.name[0], "name": json.dumps(part.name), "setting": part.setting, "names": json.dumps(part.names), "n": part.n}
    row |= {"badged": part.badged, "digest": of.digest if known else "", "failed": of.failed if known else 0, "spec": part.spec}
    values = part.values.astype(NUMBER).tobytes()
    return row | {"fields": json.dumps(part.columns.dtype.descr), "columns": part.columns.tobytes(), "number": values}


def _hash_of(file: Path | int) -> str:
    with open(file, "rb", closefd=not isinstance(file, int)) as content:
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
    rows = [_row(part.take(np.argsort(part.columns["seed"], kind="stable"))) for part in parts]
    path = str(file).replace("'", "''")  # COPY takes no parameters
    with connected() as connection:
        connection.register("parts", {name: np.array([row[name] for row in rows], object) for name in rows[0]})
        options = f"FORMAT parquet, COMPRESSION lz4_raw, KV_METADATA {{'{LAYOUT}': '{json.dumps(covers)}'}}"
        connection.execute(f"COPY parts TO '{path}' ({options})")
