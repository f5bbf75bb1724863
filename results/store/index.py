"""The index of a source of records: one Parquet file with a row for each record, read with DuckDB in memory, and what it holds in JSON.

It says of each row which file it is from, and that file's size and modification time: rows of files that have changed since count for
nothing. The Parquet file is named by the hash of its content, so that one that is truncated, damaged or foreign is no part of any index; it
appears whole before ``index.json`` names it, and never changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elboard.bench.record import flush, save_atomically, write_text_atomically
from elboard.results.store.groups import KINDS, Rows, ordered

LAYOUT = 5
NAME = "index.json"
OLD = 3600.0  # seconds after which what a writer left that died is removed
WORDS = "truncated, or not of this index; `elboard compact` makes it anew"


class Broken(Exception):
    """The index cannot be read; the message says what of it."""


class Index:
    """What ``index.json`` of ``folder`` says: the boards with their numbers of rows, columns and settings, in the order of rows.

    ``covers`` is the state of a closed folder, and ``unread`` are the names of its files that are not indexed; None and empty of another.
    Raises Broken where it is there but cannot be read; ``said`` is empty where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / NAME
        try:
            self.text = self.file.read_text(encoding="utf-8")
            self.said = json.loads(self.text)
            if self.said["layout"] != LAYOUT:
                raise ValueError("of another layout")
            self.parquet = folder / f"{self.said['hash']}.parquet"
            self.boards: list[dict] = self.said["boards"]
            self.covers, self.unread = self.said["covers"], self.said["unread"]
        except FileNotFoundError:
            self.text, self.said, self.parquet, self.boards, self.covers, self.unread = "", {}, None, [], None, []
        except (OSError, ValueError, KeyError, TypeError):
            raise Broken(f"{self.file}: {WORDS}") from None

    def rows(self, matches: Callable[[str], bool]) -> list[Rows]:
        """The rows of the boards whose task ``matches``, a part for each board. Raises Broken."""
        numbers = [i for i, of in enumerate(self.boards) if matches(of["board"][0])]
        if not numbers:
            return []
        import duckdb

        where = f"FROM read_parquet(?) WHERE board IN ({', '.join(map(str, numbers))})"
        try:
            with self.parquet.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.said["hash"]:
                    raise ValueError("of another content")
            with connected() as connection:
                columns = connection.execute(f"SELECT {', '.join(KINDS)} {where}", [str(self.parquet)]).fetchnumpy()
                values = connection.execute(f"SELECT unnest(number) AS number {where}", [str(self.parquet)]).fetchnumpy()["number"]
            return [*self._split(columns, values, [self.boards[i] for i in numbers])]
        except (duckdb.Error, OSError, ValueError, KeyError, TypeError):
            raise Broken(f"{self.parquet}: {WORDS}") from None

    def _split(self, columns: dict[str, np.ndarray], values: np.ndarray, boards: Sequence[dict]) -> Iterator[Rows]:
        """Rows of each board. Raises ValueError where they are not those that the index says."""
        if isinstance(values, np.ma.MaskedArray):  # DuckDB takes NaN in an array for NULL, and gives NULL back as a mask
            values = values.filled(np.nan)
        row = value = 0
        for of in boards:
            names, n = [tuple(name) for name in of["values"]], of["rows"]
            table = np.ascontiguousarray(values[value : value + n * len(names)].reshape(n, len(names)).T)
            own = {name: column[row : row + n] for name, column in columns.items()}
            yield Rows(tuple(of["board"]), own | dict(zip(names, table, strict=True)), of["settings"])
            row, value = row + n, value + n * len(names)
        if row != len(columns["key"]) or value != len(values):
            raise ValueError("more or fewer rows")

    @property
    def replaced(self) -> bool:
        """Whether another index has taken its place since it was read."""
        try:
            return self.file.read_text(encoding="utf-8") != self.text
        except OSError:
            return bool(self.text)


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """DuckDB in memory. Its threads end with it: processes that fork later must not inherit them."""
    import duckdb

    offline = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "preserve_insertion_order": "true"}
    with duckdb.connect(config=offline) as connection:
        connection.execute("SET enable_progress_bar = false")  # which it would print among a table's lines
        yield connection


def write(folder: Path, parts: Sequence[Rows], covers: list | None = None, unread: Sequence[str] = ()) -> None:
    """Make the index of ``folder`` that holds ``parts``, one for each board. It appears whole or not at all. Raises OSError."""
    draft = folder / f"{uuid.uuid4().hex}.parquet"
    save_atomically(draft, lambda file: _copy(parts, file))
    with draft.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    draft.rename(folder / f"{digest}.parquet")
    flush(folder)
    boards = [{"board": of.board, "rows": len(of), "values": of.values, "settings": of.settings} for of in parts]
    said = {"layout": LAYOUT, "hash": digest, "boards": boards, "covers": covers, "unread": [*unread]}
    write_text_atomically(folder / NAME, json.dumps(said))


def tidy(folder: Path, former: Path | None) -> None:
    """Remove the Parquet file ``former`` if the index is another now, and what writers left that died. Raises Broken, OSError."""
    now = Index(folder).parquet
    for file in (file for file in folder.iterdir() if file.suffix in (".parquet", ".tmp") and file != now):
        with contextlib.suppress(OSError):
            if file == former or time.time() - file.stat().st_mtime > OLD:
                file.unlink()


def _copy(parts: Sequence[Rows], file: Path) -> None:
    with connected() as connection:
        selects = []
        for i, of in enumerate(ordered(rows)[0] for rows in parts):
            values = {f"v{j}": of.columns[name] for j, name in enumerate(of.values)}
            own = {name: of.columns[name] for name in KINDS}
            connection.register(f"part{i}", {**own, "place": np.arange(len(of)), **values})
            selects.append(f"SELECT {i} AS board, place, {', '.join(KINDS)}, [{', '.join(values)}]::DOUBLE[] AS number FROM part{i}")
        name = str(file).replace("'", "''")  # COPY takes no parameters
        rows = " UNION ALL ".join(selects) or "SELECT 0 AS board WHERE false"
        connection.execute(f"COPY ({rows} ORDER BY ALL) TO '{name}' (FORMAT parquet, COMPRESSION zstd)")
