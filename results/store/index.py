"""Parts: Parquet files with the columns of records of one task, version and budget. Written once, read with DuckDB in memory."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from elboard.bench.record import flush, save_atomically, write_text_atomically
from elboard.results.store.homes import Home, Stat
from elboard.results.store.rows import COLUMNS, Board, Rows, Told, effective, group_codes, order, texts, told_of

LAYOUT = 3
META = "elboard"
COVER = "covers.json"
WORDS = "truncated, or not a part of this index; `elboard compact` makes it anew"


@dataclass(frozen=True)
class Part:
    """A Parquet file of the index. Columns ``m0, m1, ...`` are ``metrics``, ``c0, c1, ...`` are ``cost``: names of columns in DuckDB ignore
    case, names of metrics do not. ``counted`` of the ``rows`` are effective in the part and of no trial; ``groups`` is what is known of all
    its groups, in their order; ``numbers`` says that the ids of attempts are kept as numbers."""

    path: Path
    board: Board
    rows: int
    counted: int
    numbers: bool
    metrics: tuple[str, ...]
    cost: tuple[str, ...]
    groups: tuple[Told, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Source:
    """Rows of a part: those that ``fresh`` (rows,) bool marks, or those of ``groups``; all where both are None."""

    part: Part
    fresh: np.ndarray | None = None
    groups: Sequence[Told] | None = None


class BrokenPart(Exception):
    """A part that can no longer be read; ``path`` says which."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


def _part(path: Path, text: str) -> Part | None:
    """The part that says ``text`` of itself, None if that is not what a part of this layout says."""
    try:
        said = json.loads(text)
        task, version, budget = said["board"]
        fields = [said[name] for name in ("rows", "counted", "numbers")]
        groups = tuple(Told(*told) for told in said["groups"])
        part = Part(path, (task, version, budget), *fields, tuple(said["metrics"]), tuple(said["cost"]), groups)
        return part if said["layout"] == LAYOUT and path.name.startswith(stem(task) + "@") else None
    except (ValueError, KeyError, TypeError):
        return None


def stem(task: str) -> str:
    """How names of parts begin whose task begins with ``task``."""
    return quote(task, safe="")[:80]


class Reader(contextlib.AbstractContextManager):
    """Reads and writes parts. DuckDB is imported, and connected, when the first part is."""

    def __exit__(self, *error: object) -> None:
        if "connection" in self.__dict__:
            self.connection.close()  # its threads end with it: processes that fork later must not inherit them

    @cached_property
    def connection(self) -> Any:
        import duckdb

        offline = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        return duckdb.connect(config={**offline, "preserve_insertion_order": "true"})

    def _at_once(self, items: Sequence[Any], read: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        """What ``read`` makes of each of ``items``, None for those that cannot be read.

        One query for all: a query of its own for each of twenty parts takes longer than reading them.
        """
        if not items:
            return []
        import duckdb

        try:
            return read(items)
        except (duckdb.Error, OSError, ValueError):
            return [None] if len(items) == 1 else [found for item in items for found in self._at_once([item], read)]

    def columns(self, parts: Sequence[Part], counts: Sequence[int], select: str, where: str = "") -> list[dict[str, np.ndarray]]:
        """Columns of each of several parts in the order of their rows, of which there must be ``counts``. Raises BrokenPart."""

        def read(items: Sequence[tuple[Part, int]]) -> list[dict[str, np.ndarray]]:
            names, edges = [str(part.path) for part, _ in items], np.cumsum([0, *(count for _, count in items)])
            found = self.connection.execute(f"SELECT {select} FROM read_parquet(?) {where}", [names]).fetchnumpy()
            if len(next(iter(found.values()))) != edges[-1]:
                raise ValueError("rows are missing")
            # DuckDB takes NaN in an array for NULL, and gives NULL back as a mask
            found = {name: column.filled(np.nan) if isinstance(column, np.ma.MaskedArray) else column for name, column in found.items()}
            return [{name: column[a:b] for name, column in found.items()} for a, b in zip(edges[:-1], edges[1:], strict=True)]

        return _sound(parts, self._at_once(list(zip(parts, counts, strict=True)), read))

    def open(self, paths: Sequence[Path]) -> list[Part | None]:
        """The parts at ``paths``; None for what is not (or no longer, or only the beginning of) one."""
        query = "SELECT file_name, decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = ?"

        def read(some: Sequence[Path]) -> list[Part | None]:
            said = dict(self.connection.execute(query, [list(map(str, some)), META]).fetchall())
            return [_part(path, said.get(str(path), "")) for path in some]

        return self._at_once(paths, read)

    def parts(self, home: Home, left_out: list[str], broken: Collection[Path] = ()) -> list[Part]:
        """The parts of the index of ``home``; a line for each file that is none is added to ``left_out``."""
        paths = sorted(home.index.glob("*.parquet"))
        found = dict(zip(paths, self.open(paths), strict=True))
        good = {path: part for path, part in found.items() if part is not None and path not in broken}
        left_out += [f"{path}: {WORDS}" for path in paths if path not in good and path.exists()]
        return list(good.values())

    def whole(self, home: Home, pattern: str, left_out: list[str], broken: Collection[Path] = ()) -> list[Part] | None:
        """The parts of a closed folder, those of ``pattern``, if together they hold all its records; None if files must be looked at."""
        if not home.closed:
            return None
        try:
            said = json.loads((home.index / COVER).read_text(encoding="utf-8"))
            names, lines = said["parts"], said["left_out"]
            present = {path.name: path for path in home.index.glob("*.parquet")}
            if said["folder"] != home.state() or not set(names) <= set(present):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        heads = (stem(pattern) + "@", stem(pattern + "/")) if pattern else ("",)
        found = self.open([present[name] for name in sorted(names) if name.startswith(heads)])
        if any(part is None or part.path in broken for part in found):
            return None
        left_out += lines
        return found

    def compare(self, parts: Sequence[Part], files: Mapping[str, Stat]) -> tuple[list[Source], set[str]]:
        """The rows of parts whose files are as they were, and the names of those files. Raises BrokenPart."""
        found, covered = [], set()
        columns = self.columns(parts, [part.rows for part in parts], "file, size, mtime")
        for part, said in zip(parts, columns, strict=True):
            stats = zip(said["size"].tolist(), said["mtime"].tolist(), strict=True)
            fresh = np.array([files.get(name) == stat for name, stat in zip(said["file"].tolist(), stats, strict=True)], dtype=bool)
            covered.update(said["file"][fresh].tolist())
            if fresh.any():
                found.append(Source(part, None if fresh.all() else fresh))
        return found, covered

    def counted(self, part: Part, settings: list[str]) -> Rows:
        """The rows of a part, whose settings are known, that count if nothing else is known of their runs; in the order of groups.

        Raises BrokenPart.
        """
        (found,) = self.columns([part], [part.counted], ", ".join(_names(part)), "WHERE best AND NOT trial")
        return _rows(part, settings, {**found, "trial": np.zeros(part.counted, dtype=bool)})

    def rows(self, sources: Sequence[Source], settings: Mapping[Path, list[str]]) -> list[Rows]:
        """The rows of each of ``sources``; ``settings`` as of :meth:`settings`. Raises BrokenPart."""
        alike: dict[tuple, list[Source]] = defaultdict(list)
        for of in sources:  # one query reads parts with the same columns of the same types
            alike[of.part.numbers, len(of.part.metrics), len(of.part.cost), of.groups is None].append(of)
        return [rows for found in alike.values() for rows in self._rows_alike(found, settings)]

    def _rows_alike(self, sources: Sequence[Source], settings: Mapping[Path, list[str]]) -> Iterator[Rows]:
        """:meth:`rows` of parts with equally many metrics and costs, all of them whole or none."""
        counts, where = [of.part.rows for of in sources], ""
        if sources[0].groups is not None:
            counts = [sum(told.rows for told in of.groups) for of in sources]
            where = "WHERE " + " OR ".join(_condition(of) for of in sources)
        names = ", ".join([*_names(sources[0].part), "trial", "ended"])
        columns = self.columns([of.part for of in sources], counts, names, where)
        for of, found in zip(sources, columns, strict=True):
            rows = _rows(of.part, settings[of.part.path], found)
            yield rows if of.fresh is None else rows.take(of.fresh)

    def settings(self, parts: Sequence[Part]) -> dict[Path, list[str]]:
        """What each part says of its settings, in their order. Raises BrokenPart."""
        query = "SELECT filename, said FROM read_parquet(?) WHERE said IS NOT NULL ORDER BY filename, setting"

        def read(some: Sequence[Part]) -> list[list[str] | None]:
            found: dict[str, list[str]] = {str(part.path): [] for part in some}
            for path, said in self.connection.execute(query, [list(found)]).fetchall():
                found[path].append(said)
            counts = (1 + max((max(told.settings) for told in part.groups), default=-1) for part in some)
            return [said if len(said) == count else None for said, count in zip(found.values(), counts, strict=True)]

        return {part.path: said for part, said in zip(parts, _sound(parts, self._at_once(parts, read)), strict=True)}

    def stored(self, part: Part) -> tuple[list[tuple[str, Stat]], list[str]]:
        """Files, relative to the folder of runs, with their states, and contents of the records of ``part``. Raises BrokenPart."""
        (found,) = self.columns([part], [part.rows], "file, size, mtime, record")
        stats = zip(found["size"].tolist(), found["mtime"].tolist(), strict=True)
        return list(zip(found["file"].tolist(), stats, strict=True)), found["record"].tolist()

    def write(self, home: Home, rows: Rows, files: Sequence[tuple[str, Stat]], contents: Sequence[str]) -> Path:
        """Write a part with ``rows``, their files (relative to its folder) and the files' contents; returns its path.

        It appears whole or not at all. Rows are put in the order in which groups need them.
        """
        by = order(rows, group_codes(rows)[1])
        best, rows = effective(rows)[by], rows.take(by)
        columns: dict[str, np.ndarray] = {name: getattr(rows, name) for name in COLUMNS}
        columns |= {"ended": rows.ended, "best": best, "said": _said(rows)}
        columns["file"] = texts(files[i][0] for i in by)
        for column, place in (("size", 0), ("mtime", 1)):
            columns[column] = np.array([files[i][1][place] for i in by], dtype=np.int64)
        columns["record"] = texts(contents[i] for i in by)
        for letter, named in (("m", rows.metrics), ("c", rows.cost)):
            columns |= {f"{letter}{i}": column for i, column in enumerate(named.values())}
        counted = int(np.count_nonzero(best & ~rows.trial))
        meta = {"layout": LAYOUT, "board": rows.board, "rows": len(rows), "counted": counted}
        meta |= {"numbers": rows.attempt.dtype != object, "metrics": list(rows.metrics), "cost": list(rows.cost)}
        meta["groups"] = told_of(rows, best)
        final = home.index / f"{stem(rows.board[0])}@{rows.board[1]}.{uuid.uuid4().hex[:12]}.parquet"
        how = f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{META}: {_literal(json.dumps(meta, separators=(',', ':')))}}})"
        try:
            self.connection.register("fresh", columns)
            save_atomically(final, lambda draft: self.connection.execute(f"COPY (SELECT * FROM fresh) TO {_literal(draft)} {how}"))
            flush(final.parent)
        finally:
            self.connection.unregister("fresh")
        return final


def _sound(parts: Sequence[Part], found: list[Any]) -> list[Any]:
    """What was ``found`` of ``parts``. Raises BrokenPart for the first that could not be read."""
    for part, one in zip(parts, found, strict=True):
        if one is None:
            raise BrokenPart(part.path)
    return found


def _names(part: Part) -> list[str]:
    """The columns of rows of a part that are of use once it is known which count."""
    values = (*(f"m{i}" for i in range(len(part.metrics))), *(f"c{i}" for i in range(len(part.cost))))
    return ["key", "attempt", "done", "seed", "setting", *values]


def _condition(of: Source) -> str:
    """SQL that picks the rows of the groups of a source."""
    settings = sorted(setting for told in of.groups for setting in told.settings)
    return f"(filename = {_literal(of.part.path)} AND setting IN ({', '.join(map(str, settings))}))"


def _rows(part: Part, settings: list[str], found: Mapping[str, np.ndarray]) -> Rows:
    return Rows(
        part.board,
        **{name: found[name] for name in COLUMNS},
        settings=settings,
        metrics={name: found[f"m{i}"] for i, name in enumerate(part.metrics)},
        cost={name: found[f"c{i}"] for i, name in enumerate(part.cost)},
        ended=found.get("ended"),
    )


def _said(rows: Rows) -> np.ndarray:
    """(n,) of str or None: each setting's text, in the first of its rows alone."""
    said = np.full(len(rows), None, dtype=object)
    numbers, first = np.unique(rows.setting, return_index=True)
    for number, row in zip(numbers.tolist(), first.tolist(), strict=True):
        said[row] = rows.settings[number]
    return said


def _literal(said: str | Path) -> str:
    """``said`` as a text of SQL: COPY takes no parameters."""
    return "'" + str(said).replace("'", "''") + "'"


def cover(home: Home, before: list[int | str], parts: Sequence[Path], left_out: Sequence[str]) -> None:
    """Note that ``parts`` hold all valid records of a closed folder as it was in state ``before``, and what was said of the others."""
    said = {"folder": before, "parts": sorted(part.name for part in parts), "left_out": list(left_out)}
    write_text_atomically(home.index / COVER, json.dumps(said))


def sweep_drafts(home: Home, age: float = 3600.0) -> None:
    """Remove what writers that died left behind, once it is ``age`` seconds old."""
    for draft in home.index.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > age:
                draft.unlink()
