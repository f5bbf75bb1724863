"""Groups whose values stay in their part until they are asked for.

Boards whose statistics are kept need the names, numbers and hashes of groups alone, which parts say of themselves; to read the values of a
million runs takes longer than all else together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from elboard.bench.errors import UserError
from elboard.results.store import index
from elboard.results.store.grouping import Group, Told, groups_in, shared
from elboard.results.store.rows import Name, name_of


class Shelf:
    """The values of the groups of one part, read together when the first of them is asked for, and kept.

    ``settings`` are the part's. ``again`` gives the present groups of its board without the part at a path: what is used where it can no
    longer be read.
    """

    def __init__(self, part: index.Part, settings: list[str], again: Callable[[Path], Iterable[Group]]) -> None:
        self.part = part
        self.found: dict[Name, Group] | None = None
        self._elsewhere = False
        self._settings = settings
        self._again = again
        self._lock = Lock()  # boards are made in several threads

    def group(self, of: Lazy) -> Group:
        """The group that ``of`` stands for, with its values. Raises UserError where its runs are no longer the same."""
        with self._lock:
            if self.found is None:
                self.found = self._read()
        found = self.found.get(of.name)
        if found is None or found.n != of.n or self._elsewhere and found.digest != of.digest:
            what = f"{of.method} on {of.task} v{of.task_version}, {of.budget}"
            raise UserError(f"{self.part.path}: cannot be read, and the records of {what} have changed since; repeat the command")
        return found

    def _read(self) -> dict[Name, Group]:
        try:
            with index.Reader() as reader:
                return {group.name: group for group in groups_in(reader.counted(self.part, self._settings))}
        except index.BrokenPart:
            self._elsewhere = True
            return {group.name: group for group in self._again(self.part.path)}


class Values(Mapping[str, np.ndarray]):
    """Values by name; the names are there without a look at the values."""

    def __init__(self, names: Iterable[str], read: Callable[[], Mapping[str, np.ndarray]]) -> None:
        self._names = dict.fromkeys(names)
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._read()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Lazy(Group):
    """A group that one part alone has, all of whose records are as they were when it was written."""

    def __init__(self, shelf: Shelf, told: Told, tree: Mapping[str, Any]) -> None:
        part = shelf.part
        self.__dict__.update(
            shared(part.board, tree, told.seed),
            metrics=Values(_named(part.metrics, told.metrics), lambda: self._whole.metrics),
            cost=Values(_named(part.cost, told.cost), lambda: self._whole.cost),
            failed=told.failed,
            digest=told.digest,
            _shelf=shelf,
            _n=told.n,
        )

    @property
    def n(self) -> int:
        return self._n

    @property
    def read(self) -> bool:
        return self._shelf.found is not None

    @cached_property
    def _whole(self) -> Group:
        return self._shelf.group(self)

    @cached_property
    def seeds(self) -> np.ndarray:
        return self._whole.seeds

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return self._whole.keys

    @cached_property
    def attempts(self) -> tuple[str, ...]:
        return self._whole.attempts


def _named(names: Iterable[str], bits: int) -> list[str]:
    return [name for i, name in enumerate(names) if bits >> i & 1]


def names_in(part: index.Part, settings: list[str]) -> list[tuple[Name, Told, dict]]:
    """The groups of a part with their names and, decoded, the settings of their specifications. Raises BrokenPart."""
    try:
        trees = [json.loads(settings[told.settings[0]]) for told in part.groups]
        return [(name_of(tree), told, tree) for told, tree in zip(part.groups, trees, strict=True)]
    except (ValueError, LookupError, TypeError):
        raise index.BrokenPart(part.path) from None
