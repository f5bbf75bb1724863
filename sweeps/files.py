"""The sweep file, checked: each word of the wrong type, form or range is told in one line with the file and the key. See
:mod:`elboard.sweeps.plan` for what it says."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elboard.bench.config import BUDGETS, parse_seeds
from elboard.bench.document import read_file
from elboard.bench.errors import UserError
from elboard.bench.reading import Reader, by_name, each, fields_of, kind, one_of, options, short, text

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 100  # bytes of a name, which becomes that of a folder, a group and a job
MOST = 1_000_000  # points of a grid


@contextmanager
def of_file(file: Path | str) -> Iterator[None]:
    """Name ``file`` in each UserError that does not."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(f"{file}:") else f"{file}: {error}") from None


def read(file: Path) -> dict[str, Any]:
    """The tree of a sweep file. Raises UserError for what is not one."""
    return checked(file, read_file(file))


def checked(file: Path | str, tree: Any) -> dict[str, Any]:
    """``tree`` with times in seconds and seeds as lists, and with its name. Raises UserError for what no sweep says."""
    with of_file(file):
        found = fields_of("", tree, {"runs": _some(_entry)}, TOP)
        return {**found, "name": _name("name", found.get("name", Path(file).stem))}


def _some(read: Reader) -> Reader:
    def readers(where: str, given: Any) -> list[Any]:
        if not kind(list)(where, given):
            raise UserError(f"{where}: there are none")
        return list(each(read)(where, given))

    return readers


def _name(where: str, given: Any) -> str:
    if not re.fullmatch(r"\w[\w .:@+-]*", text(where, given)) or len(given.encode()) > LONGEST:
        raise UserError(f"{where}={short(given)} is no name of letters, digits and -_.:@+, at most {LONGEST} bytes")
    return given


def _seeds(where: str, given: Any) -> list[int]:
    return parse_seeds(given)


def at_least(low: float, *kinds: type) -> Reader:
    """Numbers of ``kinds``, whole ones without any."""

    def read(where: str, given: Any) -> Any:
        if not low <= kind(*(kinds or (int,)))(where, given) < math.inf:
            raise UserError(f"{where}={given!r} is not at least {low}")
        return given

    return read


def parse_time(given: Any, where: str = "time") -> float:
    """Seconds of ``90``, ``"30m"``, ``"1h30m"`` or ``"2d"``. Raises UserError for anything else."""
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < math.inf:
        return float(given)
    if not isinstance(given, str) or not re.fullmatch(r"(\d{1,9}(\.\d{1,9})?[smhd])+", given):
        raise UserError(f"{where} {short(given)} is not of the form 90, 30m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", given))


def _rule(where: str, given: Any) -> dict[str, Any]:
    if not options(where, given):
        raise UserError(f"{where}: a rule is a mapping such as {{method: iwae, lr: 0.1}}")
    for name in ("task", "method"):
        text(f"{where}.{name}", given.get(name, ""))
    return given


def _grid(where: str, given: Any) -> dict[str, Any]:
    grid_points(options(where, given), where)
    return given


NEEDS: dict[str, Reader] = {
    "cpus": at_least(0),
    "gpus": at_least(0, int, float),
    "memory": at_least(0, int, float),
    "time": lambda where, given: parse_time(given, where),
}
SHARED: dict[str, Reader] = {"budget": one_of(BUDGETS), "seeds": _seeds, "set": options}  # by the file and by an entry
TOP: dict[str, Reader] = {
    **SHARED,
    "path": lambda where, given: each(text)(where, given if isinstance(given, list) else [given]),
    "name": _name,
    "description": text,
    "resources": by_name(lambda where, given: fields_of(where, given, {}, NEEDS)),
}
ENTRY: dict[str, Reader] = {**SHARED, "recipe": text, "grid": _grid, "exclude": each(_rule), "search": options}


def _entry(where: str, given: Any) -> dict[str, Any]:
    return fields_of(where, given, {"tasks": _some(text), "methods": _some(text)}, ENTRY)


def grid_points(grid: Mapping[str, Any], where: str = "grid") -> list[dict[str, Any]]:
    """All combinations of a grid whose values are lists, ``{range: [a, b, step]}``, ``{linspace: [a, b, n]}`` or ``{logspace: [a, b, n]}``
    (b included in all three)."""
    columns = [_values(f"{where}.{name}", values) for name, values in grid.items()]
    if math.prod(map(len, columns)) > MOST:
        raise UserError(f"{where}: more than {MOST:,} points")
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*columns)]


def _values(where: str, given: Any) -> list[Any]:
    if isinstance(given, list) and given:
        return given
    way, numbers = next(iter(given.items())) if isinstance(given, dict) and len(given) == 1 else (None, None)
    plain = isinstance(numbers, list) and all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 2**63 for x in numbers)
    if way == "range" and plain and len(numbers) in (2, 3) and (len(numbers) == 2 or numbers[2] > 0):
        a, b, step = (*numbers, 1)[:3]
        if 0 <= b - a < MOST * step:
            return [a + i * step for i in range(int((b - a) / step + 1e-9) + 1)]
    if way in ("linspace", "logspace") and plain and len(numbers) == 3 and isinstance(numbers[2], int) and 1 < numbers[2] <= MOST:
        a, b, n = numbers
        if way == "linspace":
            return [a + (b - a) * i / (n - 1) for i in range(n)]
        if a > 0 and b > 0:  # twelve digits, so that 1e-3 comes out as written
            return [float(f"{math.exp(math.log(a) + (math.log(b) - math.log(a)) * i / (n - 1)):.12g}") for i in range(n)]
    raise UserError(f"{where} must be a list of values, or range, linspace or logspace: [first, last, step or count], at most {MOST:,}")
