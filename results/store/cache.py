"""The cache of a source of records: one Parquet file, read with DuckDB in memory. It can be deleted at any time.

A row is all attempts with one setting, their columns as lists and their values as bytes; of each attempt it says from which file it is, and
that file's size and modification time. The file is named by the hash of its content, so that one that is truncated, damaged or foreign is
no cache; it appears whole and never changes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elboard.bench.record import flush, sweep_up
from elboard.results.store.groups import COLUMNS, FILE, Attempts

NUMBER = np.dtype("<f8")  # of values
LAYOUT = "elboard-7"  # the key of what the file says beside its rows


def read(folder: Path, left_out: list[str], pattern: str = "", state: list[int] | None = None) -> tuple[list[Attempts], list[int] | None]:
    """What is cached in ``folder`` of the task or family ``pattern``, of all if it is empty, and the state of the closed folder all of
    whose records that is, else None. A line for ``left_out`` if it cannot be read.

    Of the caches of several writers any is right, as readers compare the files; but for one that covers the ``state`` of the folder, whose
    attempts do not say their files.
    """
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
    of_tasks = "FROM read_parquet(?) WHERE ? IN ('', task, split_part(task, '/', 1))"
    with connected() as connection:

        def query(selected: str) -> dict[str, np.ndarray]:
            return connection.execute(f"SELECT {selected} {of_tasks}", [str(file), pattern]).fetchnumpy()

        said = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = ?"
        ((text,),) = connection.execute(said, [str(file), LAYOUT]).fetchall()
        covers = json.loads(text)
        parts = query("setting, names, number, len(seed) AS n")
        wanted = (name for name in COLUMNS if name not in FILE or covers is None or covers != state)
        columns = query(", ".join(f"unnest({name}) AS {name}" for name in wanted))
    named = {names: [tuple(name) for name in json.loads(names)] for names in {*parts["names"].tolist()}}
    found, end = [], 0
    for setting, names, number, n in zip(*(column.tolist() for column in parts.values()), strict=True):
        start, end = end, end + n
        of = {name: column[start:end] for name, column in columns.items()}
        values = np.frombuffer(number, NUMBER).reshape(len(named[names]), n)
        found.append(Attempts(setting, of | dict(zip(named[names], values, strict=True))))
    return found, covers


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
    """Write the Parquet file. DuckDB makes the lists, of attempts that name their part and their place in it."""
    parts = [part.take(np.argsort(part.columns["seed"], kind="stable")) for part in parts]
    numbers = [b"".join(part.columns[name].astype(NUMBER).tobytes() for name in part.names) for part in parts]
    said = {"setting": [part.setting for part in parts], "names": [json.dumps(part.names) for part in parts], "number": numbers}
    said["task"] = [json.loads(part.setting)["spec"]["task"] for part in parts]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in COLUMNS}
    of_part = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    lists = ", ".join(f"list({name} ORDER BY place) AS {name}" for name in COLUMNS)
    rows = f"""SELECT setting, names, task, number, {", ".join(COLUMNS)} FROM parts
        JOIN (SELECT part, {lists} FROM attempts GROUP BY part) USING (part) ORDER BY part"""
    path = str(file).replace("'", "''")  # COPY takes no parameters
    with connected() as connection:
        connection.register("parts", {name: np.array(of, object) for name, of in said.items()} | {"part": np.arange(len(parts))})
        connection.register("attempts", columns | {"part": of_part, "place": np.arange(len(of_part))})
        options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{'{LAYOUT}': '{json.dumps(covers)}'}}"
        connection.execute(f"COPY ({rows}) TO '{path}' ({options})")
