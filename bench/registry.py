"""Discovery of methods and tasks: by folder, by entry point, and by ``--path``. Reads cards, imports nothing."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from elboard.bench.cached import literals
from elboard.bench.card import MethodCard, TaskCard, fits, missing
from elboard.bench.errors import UserError, nearest
from elboard.bench.folders import places
from elboard.bench.kinds import offered
from elboard.bench.plugins import FAULTS, aside, distribution, fault, left_out, points
from elboard.bench.source import ancestors, config_class, edited, hash_of, last_class, literal, text_of, tree

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CARDS = {"method": MethodCard, "task": TaskCard}
TYPES = {"str": str, "int": int, "bool": bool, "dict": dict, "str | dict": str | dict}  # of a card's fields; those of the others are tuples

BESIDE = "elboard_plugin_"  # begins the names of modules that lie outside of any package
VENV = "pyvenv.cfg"  # marks a folder of other people's packages
Found = tuple[Path, str, str | None]  # a file, its module, and whose it is; None where a mistake in it ends the command


@dataclass(frozen=True)
class Entry:
    """A discovered method or task: its card, its file, and how to import it."""

    kind: str
    card: MethodCard | TaskCard
    file: Path
    module: str

    def load(self) -> type:
        """Import the file and return its class, with ``card`` set on it. Raises what its code raises, each time the same."""
        with aside():
            cls = getattr(sys.modules.get(self.module) or self._imported(), last_class(self.file))
        cls.card = self.card
        return cls

    def _imported(self) -> ModuleType:
        try:
            if not self.module.startswith(BESIDE):
                return importlib.import_module(self.module)
            spec = importlib.util.spec_from_file_location(self.module, self.file, loader=_Source(self.module, str(self.file)))
            module = sys.modules[self.module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except BaseException as error:
            sys.modules.pop(self.module, None)  # half of it would be found the second time
            if isinstance(error, SystemExit):
                raise ImportError(f"{self.file.name} exits when it is imported ({error.code!r})") from error
            raise
        return module

    def config_class(self) -> type:
        """The dataclass of its configuration, read without importing the file."""
        return config_class(self.file, last_class(self.file))

    def budgets(self) -> dict[str, dict]:
        """For a task: what each budget sets, ``{"smoke": {"train": {...}, "task": {...}}, ...}``. Raises UserError for anything else."""
        found = literal(self.file, "BUDGETS") or {}
        for of in (found, *(found.values() if isinstance(found, dict) else ())):
            if not isinstance(of, dict) or of is not found and not all(isinstance(words, dict) for words in of.values()):
                raise UserError(f"{self.file}: BUDGETS says {of!r:.60}, not {{budget: {{section: {{option: value}}}}}}")
        return found

    def code(self) -> str:
        """The hash of its code (:func:`elboard.bench.source.hash_of`) if that does not belong to the package, whose versions say it, else
        empty."""
        return "" if self.module.startswith("elboard.") else hash_of(self.file)

    def edited(self) -> bool:
        """Whether that code is another by now than what this process has read and imported."""
        return bool(self.code()) and edited(self.file)


class _Source(importlib.machinery.SourceFileLoader):
    """Runs the text whose hash enters keys: bytecode that lies beside a file may be of another of the same second and length."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(text_of(Path(self.path)), self.path)


def _words(kind: str, file: Path) -> dict[str, Any] | None:
    """What the CARD of ``file`` says, with the protocols that a method offers; None for a file without one."""
    words = literal(file, "CARD")
    if words is None:
        return None
    if not isinstance(words, dict):
        raise UserError(f"{file}: CARD={words!r:.60} is no {CARDS[kind].__name__}")
    if "offers" in words:
        raise UserError(f"{file}: CARD does not say `offers`: a method offers the protocols among the base classes of its class")
    for item in fields(CARDS[kind]):
        if item.name in words and not isinstance(words[item.name], TYPES.get(item.type, tuple | list)):
            raise UserError(f"{file}: CARD: {item.name}={words[item.name]!r} is no {item.type}")
    return words if kind == "task" else {**words, "offers": offered(ancestors(file, last_class(file)))}


def _made(kind: str, file: Path, module: str, words: dict[str, Any]) -> Entry:
    try:
        return Entry(kind, CARDS[kind](**words), file, module)
    except UserError as error:
        raise UserError(f"{file}: CARD: {error}") from None
    except TypeError as error:
        raise UserError(f"{file}: CARD is not a valid {CARDS[kind].__name__} ({error})") from None


def _own(kind: str) -> list[Entry]:
    """Those of the package. Raises UserError for a mistake in one."""

    def read() -> list[tuple[str, str, dict[str, Any]]]:
        files = [(file, module) for file, module in _files_of(f"elboard.{kind}s", "*/*.py", "*.py") if not _other(kind, file)]
        said = [(str(file), module, _words(kind, file)) for file, module in files]
        return [(file, module, words) for file, module, words in said if words is not None]

    kept = literals(f"{kind}s", (f"{kind}s", "bench/kinds"), read)
    return [_made(kind, Path(file), module, words) for file, module, words in kept]


def _files_of(name: str, *patterns: str) -> list[tuple[Path, str]]:
    """The file of a module, or those of a package that match ``patterns``, each with the module's name."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return [(Path(spec.origin), name)] if spec and spec.origin else []
    root = Path(spec.submodule_search_locations[0])
    files = [file for pattern in patterns for file in sorted(root.glob(pattern))]
    return [(file, ".".join((name, *file.relative_to(root).with_suffix("").parts))) for file in files]


def _files_of_plugin(point: EntryPoint) -> list[Found]:
    try:
        with aside():
            found = _files_of(point.module, "*.py")
        if not found:
            raise UserError("there is no such module")
    except FAULTS as error:
        left_out(fault(point, error))
        return []
    return [(file, module, f"{distribution(point)}: ") for file, module in found]


def _path_files(path: Path) -> list[Found]:
    """Those of a folder that are modules: not what is hidden (of editors, notebooks, archives), nor links that lead nowhere."""
    if not os.path.exists(path):
        raise UserError(f"--path {path}: no such folder or file")
    files, whose = [path], None
    if path.is_dir():
        files, whose = [], ""
        for folder, folders, names in os.walk(path, onerror=lambda error: left_out(f"{error.filename}: cannot be read ({error.strerror})")):
            hidden = [name for name in folders if name.startswith((".", "__pycache__")) or os.path.exists(os.path.join(folder, name, VENV))]
            folders[:] = sorted({*folders} - {*hidden})
            files += [Path(folder, name) for name in names if name.endswith(".py") and not name.startswith(".")]
    found = [file.resolve() for file in sorted(files) if os.path.isfile(file)]
    return [(file, f"{BESIDE}{zlib.crc32(str(file).encode()):08x}_{file.stem}", whose) for file in found]


def _other(kind: str, file: Path) -> bool:
    """Whether ``file`` holds a card of the other kind."""
    return ("TaskCard(" if kind == "method" else "MethodCard(") in text_of(file)


def _entry(kind: str, file: Path, module: str) -> Entry | None:
    """The entry that a file outside of the package holds, if it is one of ``kind``. Raises UserError for a mistake in what is read without
    importing it."""
    if _other(kind, file):
        return None
    tree(file)  # a mistake in one's own file is told at once, even where its CARD could be read
    try:
        words = _words(kind, file)
        if words is None:
            return None
        entry = _made(kind, file, module, words)
        entry.config_class(), entry.budgets()
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as a {kind} ({type(error).__name__}: {error})") from None
    return entry


def discover(kind: str, paths: tuple[Path, ...] = ()) -> dict[str, Entry]:
    """All entries of ``kind`` ("method" or "task") by name: of the package, of plug-ins, of ``paths`` and of ``ELBOARD_PATH``. What is
    broken of plug-ins and in folders is left out.

    Raises UserError for a file of ``paths`` that is broken, and where two of theirs, or one of theirs and another, claim one name or alias.
    """
    return _discover(kind, places(paths))


@cache
def _discover(kind: str, paths: tuple[Path, ...]) -> dict[str, Entry]:
    if paths:  # what is installed is read once, whatever lies beside it
        entries = dict(_discover(kind, ()))
        files = [found for path in paths for found in _path_files(path)]
    else:
        entries = {}
        files = [found for point in points(f"elboard.{kind}s") for found in _files_of_plugin(point)]
    claimed = {word: entry for entry in entries.values() for word in (entry.card.name, *entry.card.aliases)}
    for entry in () if paths else _own(kind):
        _claim(entry, claimed)
        entries[entry.card.name] = entry
    for file, module, whose in files:
        try:
            entry = _entry(kind, file, module)
        except UserError as error:
            if whose is None:
                raise
            left_out(f"{whose}{error}")
            continue
        if entry is None:
            continue
        try:
            _claim(entry, claimed)
        except UserError as error:
            if not whose:
                raise
            left_out(f"{whose}{error}")
        else:
            entries[entry.card.name] = entry
    return entries


def _claim(entry: Entry, claimed: dict[str, Entry]) -> None:
    """Enter the names of ``entry``. Raises UserError where another file has claimed one."""
    words = (entry.card.name, *entry.card.aliases)
    taken = next((word for word in words if word in claimed and claimed[word].file.resolve() != entry.file.resolve()), "")
    if taken:
        raise UserError(f"{entry.kind} {taken!r} is claimed by two files: {claimed[taken].file} and {entry.file}")
    claimed |= dict.fromkeys(words, entry)


def broken(path: Path) -> dict[Path, str]:
    """The files at ``path`` that hold a mistake, with what it is."""
    found = {}
    for file, module, _ in _path_files(path):
        try:
            any(_entry(kind, file, module) for kind in CARDS)
        except UserError as error:
            found[file] = str(error)
    return found


def aliases(kind: str, paths: tuple[Path, ...] = ()) -> dict[str, str]:
    """The name that each alias stands for."""
    return _aliases(kind, places(paths))


@cache
def _aliases(kind: str, paths: tuple[Path, ...]) -> dict[str, str]:
    return {alias: name for name, entry in _discover(kind, paths).items() for alias in entry.card.aliases}


def find(kind: str, name: str, paths: tuple[Path, ...] = ()) -> Entry:
    """The entry called ``name``, or that has it as an alias. Raises UserError with the nearest names."""
    entries, others = discover(kind, paths), aliases(kind, paths)
    if name not in entries and name not in others:
        elsewhere = "" if places(paths) else " (what lies outside the package needs --path FOLDER or ELBOARD_PATH)"
        raise UserError(f"no {kind} {name!r}: {nearest(name, [*entries, *others])}{elsewhere}")
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
    return [(task, method) for task, method in _fitting(places(paths)) if task in tasks and method in methods]


@cache
def _fitting(paths: tuple[Path, ...]) -> list[tuple[str, str]]:
    """Those whose protocols fit, whatever this machine has."""
    tasks, methods = (_discover(kind, paths) for kind in ("task", "method"))
    return sorted((t, m) for t, task in tasks.items() for m, method in methods.items() if fits(method.card, task.card))


def here(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Those of ``entries``, which are of one kind, that have here what they require and the methods that they start from; of each of the
    others a line on standard error says what it lacks."""
    names = {word for entry in entries.values() for word in (entry.card.name, *entry.card.aliases)}
    lacking = {name: missing(entry.card) or _baseless(entry, names) for name, entry in entries.items()}
    sys.stderr.writelines(f"left out: {reason}\n" for reason in lacking.values() if reason)
    return {name: entry for name, entry in entries.items() if not lacking[name]}


def _baseless(entry: Entry, names: Collection[str]) -> str:
    absent = [words["method"] for words in getattr(entry.card, "bases", {}).values() if words["method"] not in names]
    return f"{entry.card.name} starts from {absent[0]!r}, which is not here: {nearest(str(absent[0]), names)}" if absent else ""
