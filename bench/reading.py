"""Readers of decoded YAML: each takes where a value stands, for messages, and the value, and returns what it says or raises UserError."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from elboard.bench.errors import UserError, nearest

Reader = Callable[[str, Any], Any]


def number(where: str, given: Any, above: float = -math.inf) -> float:
    if not above < kind(int, float)(where, given) < math.inf:
        raise UserError(f"{where}={given!r} is not {'a number' if above else 'positive'}")
    return float(given)


def kind(*kinds: type) -> Reader:
    def read(where: str, given: Any) -> Any:
        if not isinstance(given, kinds) or isinstance(given, bool) and bool not in kinds:
            raise UserError(f"{where}={short(given)} is no {' or '.join(kind.__name__ for kind in kinds)}")
        return given

    return read


def short(given: Any) -> str:
    """``given`` as a message shows it."""
    said = repr(given)
    return said if len(said) <= 60 else f"{said[:57]}..."


anything, text, positive = kind(object), kind(str), partial(number, above=0)


def options(where: str, given: Any) -> dict[str, Any]:
    """Values by name."""
    for name in kind(dict)(where, given):
        if not isinstance(name, str):
            raise UserError(f"{where}: {name!r} is no text")
    return given


def one_of(known: Collection[str]) -> Reader:
    def read(where: str, given: Any) -> str:
        if not isinstance(given, str) or given not in known:
            raise UserError(f"{where} {short(given)}: {nearest(str(given), known)}")
        return given

    return read


def each(read: Reader) -> Reader:
    return lambda where, given: tuple(read(f"{where} {i}", item) for i, item in enumerate(kind(list)(where, given), 1))


def tupled(**readers: Reader) -> Reader:
    return lambda where, given: tuple(fields_of(where, given, readers).values())


def by_name(read: Reader) -> Reader:
    return lambda where, given: {name: read(f"{where}.{name}", item) for name, item in options(where, given).items()}


def fields_of(where: str, given: Any, needed: Mapping[str, Reader], optional: Mapping[str, Reader] | None = None) -> dict[str, Any]:
    """The fields of a mapping, each through its reader. Raises UserError for unknown and missing ones."""
    known = {**needed, **(optional or {})}
    for name in kind(dict)(where or "the file", given):
        if name not in known:
            raise UserError(f"{where or 'the file'}: unknown field {name!r}, {nearest(str(name), known)}")
    for name in needed:
        if name not in given:
            raise UserError(f"{where or 'the file'}: needs {name!r}")
    return {name: read(f"{where}.{name}".lstrip("."), given[name]) for name, read in known.items() if name in given}
