"""Attempts column by column: what boards need of records, from files and from parts alike."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elboard.bench.record import Record
from elboard.results.store.files import spec_of

Board = tuple[str, int, str]  # task, its version, budget
Name = tuple[str, int, str]  # of a group: method, its version, hash of what its runs have in common
KEPT = ("search",)  # notes that boards show


@dataclass
class Rows:
    """Attempts at runs of one task, version and budget.

    Attributes:
        key, attempt: (n,) uint64 where all of them have 16, 12 hexadecimal digits, else (n,) of str (:func:`ids_of`).
        done, trial: (n,) bool; a trial of a search is on no board.
        seed: (n,) int64.
        setting: (n,) int, index into ``settings``: JSON texts of what does not depend on the seed (:func:`setting_of`).
        metrics, cost: name -> (n,) float64, NaN where absent.
        ended: (n,) of str, or None if the rows are the effective ones of their keys already.
    """

    board: Board
    key: np.ndarray
    attempt: np.ndarray
    done: np.ndarray
    trial: np.ndarray
    seed: np.ndarray
    setting: np.ndarray
    settings: list[str]
    metrics: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    ended: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows that ``index`` picks, in its order; a slice copies nothing."""
        columns = {name: getattr(self, name)[index] for name in ("key", "attempt", "done", "trial", "seed", "setting")}
        metrics, cost = ({name: column[index] for name, column in group.items()} for group in (self.metrics, self.cost))
        return Rows(self.board, **columns, settings=self.settings, metrics=metrics, cost=cost, ended=_taken(self.ended, index))


def _taken(column: np.ndarray | None, index: np.ndarray | slice) -> np.ndarray | None:
    return None if column is None else column[index]


def texts_of(ids: np.ndarray, digits: int) -> tuple[str, ...]:
    """The ids as text: numbers as hexadecimal with ``digits`` digits, texts as they are."""
    if ids.dtype == object:
        return tuple(ids.tolist())
    packed = ids.astype(">u8").tobytes().hex()
    return tuple([packed[end - digits : end] for end in range(16, len(packed) + 1, 16)])


def ids_of(names: Sequence[str], digits: int) -> np.ndarray:
    """Ids in the smallest form: (n,) uint64 where all of them are hexadecimal with ``digits`` digits, else (n,) of str."""
    if all(re.fullmatch(f"[0-9a-f]{{{digits}}}", name) for name in names):
        return np.fromiter((int(name, 16) for name in names), np.uint64, len(names))
    return np.array([*names, None], dtype=object)[:-1]


def board_of(record: Record) -> Board:
    """The board that ``record`` belongs to."""
    return record.spec["task"], record.spec["task_version"], record.spec["budget"]


def matches(task: str, pattern: str) -> bool:
    """Whether ``pattern`` is empty, the task or its family."""
    return pattern in ("", task, task.split("/")[0])


def _without_seeds(tree: Mapping, seed: int) -> dict:
    """``tree`` (a specification) and those it starts from; None for the seed, and theirs where it is the same."""
    return _over_bases({**tree, "seed": None if tree["seed"] == seed else tree["seed"]}, lambda base: _without_seeds(base, seed))


def _over_bases(tree: Mapping, change: Callable[[Mapping], Mapping]) -> dict:
    """``tree`` (a specification) with changed runs that it starts from."""
    if tree.get("base"):  # before there were roles
        return {**tree, "base": change(tree["base"])}
    return {**tree, "bases": {role: list(map(change, runs)) for role, runs in tree.get("bases", {}).items()}}


def with_seed(tree: Mapping, seed: int) -> dict:
    """Undo :func:`setting_of`: the specification of the run with ``seed``."""
    return _over_bases({**tree, "seed": seed if tree["seed"] is None else tree["seed"]}, lambda base: with_seed(base, seed))


def setting_of(record: Record) -> str:
    """What runs that differ in their seed alone have in common, as JSON: ``{"group", "spec", "notes"}``.

    ``group`` is the hash of the tree of the key without seeds (that of a run it starts from included); ``spec`` has null for the seed;
    ``notes`` are those that boards show.
    """
    notes = {name: record.notes[name] for name in KEPT if name in record.notes}
    spec = _without_seeds(record.spec, record.spec["seed"])
    return json.dumps({"group": group_of(record), "spec": spec, "notes": notes}, sort_keys=True)


def group_of(record: Record) -> str:
    """``Group.group`` of the group that the run of ``record`` belongs to."""
    tree = spec_of(record).configuration()
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def name_of(tree: Mapping) -> Name:
    """``Group.name`` of the group of a setting that was decoded as ``tree``."""
    return tree["spec"]["method"], tree["spec"]["method_version"], tree["group"]


def rows_of(board: Board, found: Sequence[Record]) -> Rows:
    """Columns of records of one board, in their order."""
    codes: dict[str, int] = {}
    setting = np.array([codes.setdefault(setting_of(record), len(codes)) for record in found], dtype=np.int32)
    return Rows(
        board,
        key=ids_of([record.key for record in found], 16),
        attempt=ids_of([record.attempt for record in found], 12),
        done=np.array([record.status == "done" for record in found], dtype=bool),
        trial=np.array(["trial" in record.notes for record in found], dtype=bool),
        seed=np.array([record.spec["seed"] for record in found], dtype=np.int64),
        setting=setting,
        settings=list(codes),
        metrics=_columns([record.metrics for record in found]),
        cost=_columns([record.cost for record in found]),
        ended=np.array([*(record.ended for record in found), None], dtype=object)[:-1],
    )


def _columns(found: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """name -> (n,) float64 of mappings, NaN where one lacks the name; names sorted."""
    names = sorted({name for values in found for name in values})
    return {name: np.array([values.get(name, np.nan) for values in found], dtype=np.float64) for name in names}


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several sources of one board, one after the other."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(rows) for rows in parts]
    number: dict[str, int] = {}
    numbers = [np.array([number.setdefault(text, len(number)) for text in rows.settings], dtype=np.int32) for rows in parts]
    columns = {name: np.concatenate([getattr(rows, name) for rows in parts]) for name in ("done", "trial", "seed")}
    return Rows(
        parts[0].board,
        **columns,
        key=_joined_ids([rows.key for rows in parts], 16),
        attempt=_joined_ids([rows.attempt for rows in parts], 12),
        setting=np.concatenate([of_part[rows.setting] for rows, of_part in zip(parts, numbers, strict=True)]),
        settings=list(number),
        metrics=_joined([rows.metrics for rows in parts], sizes),
        cost=_joined([rows.cost for rows in parts], sizes),
        ended=np.concatenate([rows.ended for rows in parts]),
    )


def _joined_ids(parts: Sequence[np.ndarray], digits: int) -> np.ndarray:
    if len({column.dtype for column in parts}) > 1:
        return np.array([*(name for column in parts for name in texts_of(column, digits)), None], dtype=object)[:-1]
    return np.concatenate(parts)


def _joined(parts: Sequence[Mapping[str, np.ndarray]], sizes: Iterable[int]) -> dict[str, np.ndarray]:
    names = sorted({name for columns in parts for name in columns})
    absent = [np.full(size, np.nan) for size in sizes]
    return {name: np.concatenate([columns.get(name, nan) for columns, nan in zip(parts, absent, strict=True)]) for name in names}


def effective(rows: Rows) -> np.ndarray:
    """(n,) bool: the one row of each key that counts, by the rule of :func:`elboard.bench.record.effective`; the first of equal ones."""
    counts = np.ones(len(rows), dtype=bool)
    if rows.ended is None:
        return counts
    order = np.argsort(rows.key, kind="stable")
    ordered = rows.key[order]
    same = ordered[1:] == ordered[:-1]
    several = order[np.concatenate([same, [False]]) | np.concatenate([[False], same])] if len(order) else order
    best: dict[object, int] = {}

    def rank(row: int) -> tuple:
        return rows.done[row], rows.ended[row], rows.attempt[row]

    for row in several.tolist():
        key = rows.key[row]
        if key not in best or rank(row) > rank(best[key]):
            best[key] = row
    counts[several] = False
    counts[list(best.values())] = True
    return counts


def group_codes(rows: Rows) -> tuple[list[dict], np.ndarray]:
    """What was said of each setting, and for each row the number of its group: (n,) int, by method, its version and the group's hash."""
    said = [json.loads(text) for text in rows.settings]
    names = [name_of(tree) for tree in said]
    number = {name: i for i, name in enumerate(sorted(set(names)))}
    return said, np.array([number[name] for name in names], dtype=np.int64)[rows.setting]


def order(rows: Rows, code: np.ndarray) -> np.ndarray:
    """The order of rows that groups need: finished ones first, then by group, seed and key. (n,) int."""
    return np.lexsort((rows.key, rows.seed, code, ~rows.done))
