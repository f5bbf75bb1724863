"""YAML that people write: plain values alone, no key twice, and no scalar that means something else than it says.

Scalars are those of YAML 1.2 where 1.1 surprises: ``off``, ``yes``, ``1:30`` and dates are texts, ``1e-3`` is a number, and ``010``, which
is 8 in one and 10 in the other, is a mistake. Imports PyYAML when the first text is read.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError

LONGEST = 2**20  # bytes of a document
LARGEST = 1_000_000  # values of a document, with what its aliases stand for
DEEPEST = 50  # mappings and lists in each other
SCALARS = (  # tag, form, first characters
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("zero", r"[-+]?0[0-9_]+", "-+0"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+0123456789."),
    ("merge", r"<<", "<"),
)


def read_file(file: Path, ours: bool = False) -> Any:
    """The content of ``file``. Raises UserError where it cannot be read, or as :func:`read`."""
    try:
        return read(str(file), file.read_bytes(), ours)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None


def read(where: str, given: str | bytes, ours: bool = False) -> Any:
    """The content of a document. Raises UserError, one line that begins with ``where``. Of a document that is ``ours``, which the package
    brings, nothing is looked for that only malice writes."""
    import yaml

    loader = None
    try:
        text = given.decode("utf-8-sig") if isinstance(given, bytes) else given
        if not ours:
            if len(text.encode("utf-8", "replace")) > LONGEST:
                raise UserError(f"{where}: more than {LONGEST:,} bytes of YAML")
            _look(text)
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if not ours and _size(node, {}) > LARGEST:
            raise UserError(f"{where}: more than {LARGEST:,} values, with what its aliases stand for")
        return loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8 (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}: " if mark and "\n" in text.strip() else ""
        raise UserError(f"{where}: not valid YAML ({at}{error.problem or error.context})") from None
    except (yaml.YAMLError, ValueError) as error:  # a number of thousands of digits is a ValueError
        raise UserError(f"{where}: not valid YAML ({str(error).splitlines()[0]})") from None
    finally:
        if loader is not None:
            loader.dispose()


def _look(text: str) -> None:
    """Raises a YAMLError for nesting that would exhaust the stack of a parser in C, and for tags: they name types that are not plain."""
    import yaml
    from yaml.constructor import ConstructorError

    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionStartEvent | yaml.CollectionEndEvent):
            depth += 1 if isinstance(event, yaml.CollectionStartEvent) else -1
        if depth > DEEPEST:
            raise ConstructorError(None, None, f"more than {DEEPEST} levels", event.start_mark)
        if getattr(event, "tag", None):
            raise ConstructorError(None, None, f"the tag {event.tag}: values are plain", event.start_mark)


def _size(node: Any, known: dict[int, int | None]) -> int:
    """The values of ``node``, those of an alias each time. Raises a YAMLError where it lies in itself."""
    from yaml.constructor import ConstructorError

    if id(node) in known:
        if known[id(node)] is None:
            raise ConstructorError(None, None, "an anchor that contains itself", node.start_mark)
        return known[id(node)]
    known[id(node)] = None
    parts = node.value if isinstance(node.value, list) else []
    parts = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
    known[id(node)] = found = 1 + sum(_size(part, known) for part in parts)
    return found


@cache
def _loader() -> type:
    import yaml
    from yaml.constructor import ConstructorError

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        yaml_implicit_resolvers: dict = {}

        def construct_mapping(self, node: Any, deep: bool = False) -> dict:
            seen = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                    if key.value in seen:
                        raise ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    def leading_zero(loader: Any, node: Any) -> None:
        digits = node.value.replace("_", "").lstrip("+-0") or "0"
        raise ConstructorError(None, None, f"{node.value} begins with a zero: write {digits}, or quote it", node.start_mark)

    for name, form, first in SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"(?:{form})\\Z"), list(first))
    Loader.add_constructor("tag:yaml.org,2002:zero", leading_zero)
    return Loader
