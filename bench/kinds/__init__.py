"""Kinds of work. A module of this folder, or of the entry-point group ``elboard.kinds``, holds what one kind consists of:

* protocols, abstract classes that a task asks for in its card's ``needs`` and that a method has among its base classes;
* facts of the data that methods may know, as subclasses of :class:`DataSpec`;
* ``METRICS``, the conventions of its metrics (functions that compute them are in :mod:`elboard.bench.metrics`).

Importing a kind costs nothing: torch only for type checkers.
"""

from __future__ import annotations

import importlib
from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from elboard.bench import plugins as installed
from elboard.bench.errors import UserError


@dataclass(frozen=True)
class DataSpec:
    """What a method may know of any data when it builds its networks; a kind's subclass says more, a task of two kinds combines theirs.

    Attributes:
        shape: of one example (``(1, 28, 28)``, ``(64,)``, ``(n_items,)``).
        n_train: number of training examples.
    """

    shape: tuple[int, ...]
    n_train: int


@dataclass
class Catalogue:
    """What kinds bring, by name: protocols, facts of data, conventions of metrics."""

    protocols: dict[str, type] = field(default_factory=dict)
    specs: dict[str, type] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    _homes: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, module: Any) -> None:
        """Take in what ``module`` defines. Raises UserError for a name that another kind has claimed."""
        own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
        named = [(self.protocols, "protocol", cls.__name__, cls) for cls in own if issubclass(cls, ABC)]
        named += [(self.specs, "data's facts", cls.__name__, cls) for cls in own if issubclass(cls, DataSpec)]
        named += [(self.metrics, "metric", convention.name, convention) for convention in getattr(module, "METRICS", ())]
        homes = dict(self._homes)
        for _, what, name, _ in named:  # all, before any is taken in
            if (what, name) in homes:
                raise UserError(f"{what} {name!r} is claimed by two kinds: {homes[what, name]} and {module.__name__}")
            homes[what, name] = module.__name__
        self._homes = homes
        for table, _, name, value in named:
            table[name] = value


@cache
def catalogue(plugins: bool = True) -> Catalogue:
    """All kinds, or without ``plugins`` our own. Plug-ins that cannot be used are left out."""
    found = Catalogue()
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        found.add(importlib.import_module(f"{__name__}.{file.stem}"))
    for point in installed.points("elboard.kinds") if plugins else ():
        try:
            with installed.aside():
                found.add(importlib.import_module(point.value))
        except installed.FAULTS as error:
            installed.left_out(installed.fault(point, error))
    return found


def lookup(table: str, name: str) -> Any:
    """The entry ``name`` of a table of :class:`Catalogue`, or None; kinds of plug-ins are loaded only for a name that is not our own."""
    own: Mapping[str, Any] = getattr(catalogue(plugins=False), table)
    return own[name] if name in own else getattr(catalogue(), table).get(name)


def offered(bases: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Names of the protocols among ``bases``, which are (module, name), and of those that these protocols are kinds of themselves."""
    names: dict[str, None] = {}
    for module, name in bases:
        ours = module.startswith("elboard.") or (module, name) == ("elboard", "Method")
        protocols = catalogue(plugins=not ours and name not in catalogue(plugins=False).protocols).protocols
        if name in protocols and module in ("elboard", protocols[name].__module__):
            names |= dict.fromkeys(cls.__name__ for cls in protocols[name].__mro__ if cls in protocols.values())
    return tuple(names)
