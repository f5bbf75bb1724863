"""What options may be: annotations of the fields of a ``Config``, read from its source, and the one check of values against them.

    k: Count = 50
    dropout: Annotated[float, Range(0, below=1)] = 0.25
    schedule: Literal["constant", "cosine"] = "constant"
    hidden: list[Count] = field(default_factory=lambda: [200, 200])

A field that a subclass declares again by the plain type keeps what its parent says of it.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, make_dataclass
from typing import Annotated, Any

from elboard.bench.errors import UserError, nearest

SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
LARGEST = 2**63  # of whole numbers, which libraries hold in 64 bits


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included, greater than ``above`` and less than ``below``."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __str__(self) -> str:
        first = f"({self.above:g}" if self.above > -math.inf else f"[{self.low:g}"
        last = f"{self.below:g})" if self.below < math.inf else f"{self.high:g}]"
        if "inf" not in first + last:
            return f"in {first}, {last}"
        if "inf" in last:
            return f"above {self.above:g}" if self.above > -math.inf else f"at least {self.low:g}"
        return f"below {self.below:g}" if self.below < math.inf else f"at most {self.high:g}"

    def wrong(self, value: float) -> str:
        """Why ``value`` is none of them; empty if it is one."""
        return "" if self.low <= value <= self.high and self.above < value < self.below else f" is not {self}"


@dataclass(frozen=True)
class Words:
    """A word of ``known``."""

    known: tuple[str, ...]

    def __str__(self) -> str:
        return " | ".join(word or "''" for word in self.known)

    def wrong(self, value: str) -> str:
        return "" if value in self.known else f": {nearest(value, self.known)}"


@dataclass(frozen=True)
class Form:
    """Text that a regular expression matches as a whole; ``said`` in words."""

    pattern: str
    said: str

    def __str__(self) -> str:
        return self.said

    def wrong(self, value: str) -> str:
        return "" if re.fullmatch(self.pattern, value) else f" is not {self.said}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
NAMED = {"Count": Count, "Natural": Natural, "Positive": Positive, "NonNegative": NonNegative, "Share": Share}
BOUNDS = {"Range": Range, "Form": Form}


@dataclass(frozen=True)
class Kind:
    """What an option may be: of ``type``, a list of such (``many``), or None too (``optional``), and each of them ``within``."""

    type: type
    within: Range | Words | Form | None = None
    many: bool = False
    optional: bool = False

    @property
    def plain(self) -> Any:
        """The type that a structured configuration has."""
        found = list[self.type] if self.many else self.type
        return found | None if self.optional else found

    def __str__(self) -> str:
        one = f"{self.within}" if isinstance(self.within, Words) else f"{self.type.__name__}{f' {self.within}' if self.within else ''}"
        return (f"list of {one}" if self.many else one) + (" | None" if self.optional else "")

    def after(self, parent: Kind) -> Kind:
        """This kind, where ``parent`` was declared of the same field: what that says holds if this says nothing."""
        same = (self.type, self.many, self.optional) == (parent.type, parent.many, parent.optional)
        return parent if same and self.within is None else self

    def wrong(self, value: Any) -> str:
        """Why the option cannot be ``value``, what follows `name=value` in a message; empty if it can."""
        if value is None and self.optional:
            return ""
        if not self.many:
            return self._wrong(value)
        if not isinstance(value, list):
            return f" is no {self}"
        return next((f": {item!r}{self._wrong(item)}" for item in value if self._wrong(item)), "")

    def _wrong(self, value: Any) -> str:
        if type(value) is not self.type:
            return f" is no {self}"
        if self.type is float and not math.isfinite(value):  # which JSON, and so a key, cannot say
            return " is not finite"
        if self.type is int and abs(value) >= LARGEST:
            return " is too large"
        if self.type is str and "${" in value:
            return " refers to another option, which none can"
        return self.within.wrong(value) if self.within else ""


def kind_of(node: ast.expr) -> Kind | None:
    """The kind that an annotation states, None where it is no such annotation."""
    if isinstance(node, ast.Name):
        if node.id in NAMED:
            return Kind(NAMED[node.id].__origin__, *NAMED[node.id].__metadata__)
        return Kind(SCALARS[node.id]) if node.id in SCALARS else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and ast.unparse(node.right) == "None":
        one = kind_of(node.left)
        return Kind(one.type, one.within, one.many, optional=True) if one else None
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return None
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if node.value.id == "list" and len(items) == 1:
        one = kind_of(items[0])
        return Kind(one.type, one.within, many=True) if one and not one.many and not one.optional else None
    if node.value.id == "Literal" and all(isinstance(item, ast.Constant) and isinstance(item.value, str) for item in items):
        return Kind(str, Words(tuple(item.value for item in items)))
    if node.value.id == "Annotated" and len(items) == 2:
        one, within = kind_of(items[0]), _bounds(items[1])
        return Kind(one.type, within) if one and within else None
    return None


def _bounds(node: ast.expr) -> Range | Form | None:
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in BOUNDS:
        return None
    try:
        words = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        return BOUNDS[node.func.id](*map(ast.literal_eval, node.args), **words)
    except (ValueError, TypeError):
        return None


class Options:
    """What a ``Config`` derives from: its fields are checked against their own declarations when it is made.

    Raises UserError that names the field. A field whose annotation is no text (a module without ``from __future__ import annotations``)
    is checked where options are resolved alone.
    """

    def __post_init__(self) -> None:
        for name, kind in declared(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, tuple) and kind.many:
                value = list(value)
            if type(value) is int and kind.type is float:
                value = float(value)
            if reason := kind.wrong(value):
                raise UserError(f"{name}={getattr(self, name)!r}{reason}")


@functools.cache
def declared(config: type) -> dict[str, Kind]:
    """What the fields of a ``Config`` may be, as its source and those of its parents say."""
    found: dict[str, Kind] = {}
    for cls in reversed(config.__mro__):
        for name, text in vars(cls).get("__annotations__", {}).items():
            kind = kind_of(ast.parse(text, mode="eval").body) if isinstance(text, str) else None
            if kind is not None:
                found[name] = kind.after(found[name]) if name in found else kind
    return {name: kind for name, kind in found.items() if name in config.__dataclass_fields__}


def schema_of(name: str, columns: Mapping[str, tuple[Kind, Any]]) -> type:
    """A dataclass with plain types and the defaults of ``columns`` (MISSING for none), for OmegaConf; :func:`kinds` knows the rest."""
    made = []
    for option, (kind, default) in columns.items():
        words: dict[str, Any] = {"default": default}
        if isinstance(default, list):
            words = {"default_factory": lambda value=tuple(default): list(value)}
        made.append((option, kind.plain, field(metadata={"kind": kind}, **words)))
    return make_dataclass(name, made, kw_only=True)


def schema_of_class(cls: type) -> type:
    """:func:`schema_of` a dataclass whose annotations are texts and whose defaults are no lists."""
    kinds_of = declared(cls)
    return schema_of(cls.__name__, {name: (kinds_of[name], column.default) for name, column in cls.__dataclass_fields__.items()})


def kinds(schema: type) -> dict[str, Kind]:
    """What the options of a :func:`schema_of` may be."""
    return {name: column.metadata["kind"] for name, column in schema.__dataclass_fields__.items()}


def out_of_bounds(schema: type) -> dict[str, str]:
    """The options whose default their own declaration forbids, and why."""
    found = {}
    for name, column in schema.__dataclass_fields__.items():
        default = column.default_factory() if column.default_factory is not MISSING else column.default
        reason = "" if default is MISSING else column.metadata["kind"].wrong(default)
        if reason:
            found[name] = f"{default!r}{reason}"
    return found
