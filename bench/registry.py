"""Discovery of methods and tasks: by folder, by entry point, and by ``--path``. Reads cards, imports nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from elboard.bench.card import MethodCard, TaskCard, fits, missing
from elboard.bench.errors import UserError, check_known
from elboard.bench.kinds import broken, offered
from elboard.bench.source import ancestors, config_class, hash_of, last_class, literal, text_of, tree

CARDS = {"method": MethodCard, "task": TaskCard}
TYPES = {"str": str, "int": int, "bool": bool, "dict": dict, "str | dict": str | dict}  # of a card's fields; those of the others are tuples


@dataclass(frozen=True)
class Entry:
    """A discovered method or task: its card, its file, and how to import it."""

    kind: str
    card: MethodCard | TaskCard
    file: Path
    module: str

    def load(self) -> type:
        """Import the file and return its class, with ``card`` set on it."""
        if self.module in sys.modules:
            module = sys.modules[self.module]
        elif self.module.startswith("elboard_plugin_"):
            spec = importlib.util.spec_from_file_location(self.module, self.file)
            module = importlib.util.module_from_spec(spec)
            sys.modules[self.module] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(self.module)
        cls = getattr(module, last_class(self.file))
        cls.card = self.card
        return cls

    def config_class(self) -> type:
        """The dataclass of its configuration, read without importing the file."""
        return config_class(self.file, last_class(self.file))

    def budgets(self) -> dict[str, dict]:
        """For a task: what each budget sets, ``{"smoke": {"train": {...}, "task": {...}}, ...}``."""
        return literal(self.file, "BUDGETS") or {}

    def code(self) -> str:
        """The hash of its code (:func:`elboard.bench.source.hash_of`) if that does not belong to the package, whose versions say it, else
        empty."""
        return "" if self.module.startswith("elboard.") else hash_of(self.file)


def _read(kind: str, file: Path, module: str) -> Entry | None:
    words = literal(file, "CARD")
    if words is None:
        return None
    if "offers" in words:
        raise UserError(f"{file}: CARD does not say `offers`: a method offers the protocols among the base classes of its class")
    for item in fields(CARDS[kind]):
        if item.name in words and not isinstance(words[item.name], TYPES.get(item.type, tuple | list)):
            raise UserError(f"{file}: CARD: {item.name}={words[item.name]!r} is no {item.type}")
    if kind == "method":
        words = {**words, "offers": offered(ancestors(file, last_class(file)))}
    try:
        return Entry(kind, CARDS[kind](**words), file, module)
    except UserError as error:
        raise UserError(f"{file}: CARD: {error}") from None
    except TypeError as error:
        raise UserError(f"{file}: CARD is not a valid {CARDS[kind].__name__} ({error})") from None


def _files_of(name: str, *patterns: str) -> list[tuple[Path, str]]:
    """The file of a module, or those of a package that match ``patterns``, each with the module's name."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return [(Path(spec.origin), name)] if spec and spec.origin else []
    root = Path(spec.submodule_search_locations[0])
    files = [file for pattern in patterns for file in sorted(root.glob(pattern))]
    return [(file, ".".join((name, *file.relative_to(root).with_suffix("").parts))) for file in files]


def _files_of_plugin(point: importlib.metadata.EntryPoint) -> list[tuple[Path, str]]:
    try:
        found = _files_of(point.module, "*.py")
    except Exception as error:  # which anybody's code may raise
        raise broken(point, error) from None
    if not found:
        raise broken(point, UserError("there is no such module"))
    return found


def _path_files(path: Path) -> list[tuple[Path, str]]:
    if not path.exists():
        raise UserError(f"--path {path}: no such folder or file")
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    for file in files:
        tree(file)  # a mistake in one's own file is told at once, even where its CARD could be read
    return [(file.resolve(), f"elboard_plugin_{zlib.crc32(str(file.resolve()).encode()):08x}_{file.stem}") for file in files]


@cache
def discover(kind: str, paths: tuple[Path, ...] = ()) -> dict[str, Entry]:
    """All entries of ``kind`` ("method" or "task") by name.

    Raises UserError where two files claim one name or alias.
    """
    if paths:  # what is installed is read once, whatever lies beside it
        entries = dict(discover(kind))
        files = [found for path in paths for found in _path_files(Path(path))]
    else:
        entries = {}
        points = importlib.metadata.entry_points(group=f"elboard.{kind}s")
        files = _files_of(f"elboard.{kind}s", "*/*.py", "*.py")
        files += [found for point in points for found in _files_of_plugin(point)]
    claimed = {word: entry for entry in entries.values() for word in (entry.card.name, *entry.card.aliases)}
    for file, module in files:
        if kind == "method" and "TaskCard(" in text_of(file) or kind == "task" and "MethodCard(" in text_of(file):
            continue
        entry = _read(kind, file, module)
        if entry is None:
            continue
        for word in (entry.card.name, *entry.card.aliases):
            other = claimed.setdefault(word, entry)
            if other is not entry and other.file.resolve() != file.resolve():
                raise UserError(f"{kind} {word!r} is claimed by two files: {other.file} and {file}")
        entries[entry.card.name] = entry
    return entries


@cache
def aliases(kind: str, paths: tuple[Path, ...] = ()) -> dict[str, str]:
    """The name that each alias stands for."""
    return {alias: name for name, entry in discover(kind, paths).items() for alias in entry.card.aliases}


def find(kind: str, name: str, paths: tuple[Path, ...] = ()) -> Entry:
    """The entry called ``name``, or that has it as an alias. Raises UserError with the nearest names."""
    entries, others = discover(kind, paths), aliases(kind, paths)
    check_known(kind, name, [*entries, *others])
    return entries[others.get(name, name)]


def require(task: str, method: str, paths: tuple[Path, ...] = ()) -> None:
    """Raises UserError where this machine lacks what ``task`` or ``method`` requires."""
    for entry in (find("task", task, paths), find("method", method, paths)):
        if missing(entry.card):
            raise UserError(missing(entry.card))


def code_of(*entries: Entry) -> dict[str, str]:
    """The hashes of the code of those of ``entries`` that do not belong to the package, by kind."""
    return {entry.kind: entry.code() for entry in entries if entry.code()}


def compatible(paths: tuple[Path, ...] = ()) -> list[tuple[str, str]]:
    """All (task, method) pairs whose protocols fit and that have here what they require, sorted."""
    tasks, methods = (here(discover(kind, paths)) for kind in ("task", "method"))
    return sorted((t, m) for t, task in tasks.items() for m, method in methods.items() if fits(method.card, task.card))


def here(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Those of ``entries`` that have here what they require; of each of the others a line on standard error says what it lacks."""
    lacking = {name: missing(entry.card) for name, entry in entries.items()}
    sys.stderr.writelines(f"left out: {reason}\n" for reason in lacking.values() if reason)
    return {name: entry for name, entry in entries.items() if not lacking[name]}
