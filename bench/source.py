"""Reading literals and configuration classes from source files without importing them.

A listing, a dry run or a plan needs the cards, the budgets and the defaults of many methods; importing them would cost seconds of torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import MISSING
from functools import cache
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError
from elboard.bench.options import BOUNDS, NAMED, SCALARS, Kind, kind_of, schema_of


@cache
def text_of(file: Path) -> str:
    """The text of ``file``. Raises UserError where it cannot be read, or is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: does not parse as Python ({error})") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None


@cache
def tree(file: Path) -> ast.Module:
    """The syntax tree of ``file``. Raises UserError where it does not parse."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of its literals, which importing it tells
            return ast.parse(text_of(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the others of null bytes and deep nesting
        raise UserError(f"{file}: does not parse as Python ({error})") from None


@cache
def _file_of(module: str) -> Path | None:
    parts = module.split(".")
    spec = importlib.util.find_spec(parts[0])  # of the top-level package alone: finding a submodule would import its parents
    if spec is None or not spec.submodule_search_locations:
        return None
    for root in spec.submodule_search_locations:
        path = Path(root, *parts[1:])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@cache
def _code(file: Path) -> str:
    """The text of ``file`` without the texts between triple quotes, which may look like code."""
    return re.sub(r'("""|\'\'\').*?\1', '""', text_of(file), flags=re.DOTALL)


@cache
def _imports(file: Path) -> dict[str, tuple[str, str]]:
    """Module and name behind each name that ``file`` imports; those within a block (``if TYPE_CHECKING:``) count where no other has
    that name. The name is empty where it is a module itself."""
    found: dict[str, tuple[str, str]] = {}
    for words in re.findall(r"^([ \t]*)(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]*\)|[^\n(;]+)", _code(file), re.MULTILINE):
        indent, module, names = words[0], _absolute(file, words[1]), words[2]
        for part in re.sub(r"#[^\n]*|[()\\]", "", names).split(","):
            name, _, alias = (word.strip() for word in part.partition(" as "))
            key = alias or (name if module else name.split(".")[0])
            if not indent or key not in found:
                found[key] = (module, name) if module else (name if alias else key, "")
    return found


def _absolute(file: Path, module: str) -> str:
    """``module``, imported in ``file``, by its full name where it has leading dots and ``file`` lies in a package."""
    name = module.lstrip(".")
    root, folder = _package_of(file) if name != module else [], file.parents[max(0, len(module) - len(name) - 1)]
    return ".".join([*folder.relative_to(root[0]).parts, name]).strip(".") if root and folder.is_relative_to(root[0]) else module


def _imported_from(file: Path, name: str) -> tuple[Path, str] | None:
    """File and name behind ``from module import name`` in ``file``."""
    module, found = _imports(file).get(name, ("", ""))
    source = _file_of(module) if found else None
    return (source, found) if source else None


def _statements(file: Path, name: str) -> list[ast.stmt]:
    """The top-level statements of ``file`` that can assign or import ``name``.

    An assignment is cut out of the text and parsed alone, which is many times faster than parsing the file; a listing reads hundreds.
    """
    text = text_of(file)
    start = re.search(rf"^{name}\b[^\n=]*=", text, re.MULTILINE)
    if start is None:
        return tree(file).body if name in text else []
    end = re.compile(r"^[^\s)\]}#]|\Z", re.MULTILINE).search(text, start.end())
    try:
        return ast.parse(text[start.start() : end.start()]).body
    except SyntaxError:
        return tree(file).body


@cache
def literal(file: Path, name: str) -> Any:
    """The literal assigned to ``name`` at the top level of ``file``, followed through ``from ... import``.

    A call with keyword literals only (``MethodCard(name="vae", ...)``) gives the dict of its keywords. None where ``name`` is absent.
    """
    for node in _statements(file, name):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id == name and node.value:
            try:
                if isinstance(node.value, ast.Call) and not node.value.args:
                    return {word.arg: ast.literal_eval(word.value) for word in node.value.keywords}
                return ast.literal_eval(node.value)
            except ValueError:
                line = 1 + re.split(rf"^{name}\b", text_of(file), maxsplit=1, flags=re.MULTILINE)[0].count("\n")
                raise UserError(f"{file}:{line}: {name} must be a literal, so that it can be read without importing") from None
    found = _imported_from(file, name)
    return literal(*found) if found else None


def _class(file: Path, name: str) -> tuple[Path, ast.ClassDef] | None:
    for node in tree(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return file, node
    found = _imported_from(file, name)
    return _class(*found) if found else None


def _default(file: Path, node: ast.AnnAssign) -> Any:
    value = node.value
    if value is None:
        return MISSING
    if isinstance(value, ast.Call):  # field(default_factory=lambda: [200, 200])
        words = {word.arg: word.value for word in value.keywords}
        factory = words.get("default_factory")
        value = factory.body if isinstance(factory, ast.Lambda) else ast.List([], ast.Load()) if factory else words["default"]
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise UserError(f"{file}:{node.lineno}: a default of Config must be a literal") from None


def _fields(file: Path, class_name: str) -> dict[str, tuple[Kind, Any]]:
    """Fields of ``class_name.Config`` with their kinds and defaults, those of the classes that Config inherits from first."""
    found = _class(file, class_name)
    if found is None:
        return {}
    file, node = found
    inner = next((item for item in node.body if isinstance(item, ast.ClassDef) and item.name == "Config"), None)
    if inner is None:
        parents = [base.id for base in node.bases if isinstance(base, ast.Name)]
    else:  # class Config(Parent.Config), or a Config that starts afresh
        parents = [base.value.id for base in inner.bases if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name)]
    fields: dict[str, tuple[Kind, Any]] = {}
    for parent in reversed(parents):
        fields.update(_fields(file, parent))
    for item in inner.body if inner else ():
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name, kind = item.target.id, kind_of(item.annotation)
            if kind is None:
                known = f"{', '.join((*SCALARS, *NAMED))}, Literal, Annotated with {' or '.join(BOUNDS)}, a list of one, or one | None"
                raise UserError(f"{file}:{item.lineno}: type {ast.unparse(item.annotation)!r} of {name} is none of {known}")
            fields[name] = (kind.after(fields[name][0]) if name in fields else kind, _default(file, item))
    return fields


@cache
def config_class(file: Path, class_name: str) -> type:
    """A dataclass equal to ``class_name.Config`` of ``file``, fields of its base classes included."""
    return schema_of(f"{class_name}Config", _fields(file, class_name))


# Ways to test data, for those who look for them: names, packages that have the data too, and what a method may use of its training's task.
WAYS = ("load_test", "ELBOARD_DATA", "get_objects", "get_referrers", "_getframe", "currentframe", "f_back", "f_locals")
LOADERS = ("elboard.tasks.", "sklearn.datasets.", "torchvision.datasets.")
OF_TASK = ("batches", "budget", "card", "config", "device", "seed", "validate")
CLASS = re.compile(r"^class[ \t]+(\w+)[ \t]*(?:\(([^()]*)\))?[ \t]*:", re.MULTILINE)
FOREIGN = ("abc", "elboard.bench", "pytorch_lightning", "torch", "typing")  # whose classes have no protocol among their own bases


@cache
def ancestors(file: Path, class_name: str) -> tuple[tuple[str, str], ...]:
    """(module, name) of the imported classes from which ``class_name`` of ``file`` inherits, as far as sources can be found; imports none.

    A module is the one that a name is imported from, which may have it from another.
    """
    bases = dict(CLASS.findall(_code(file))).get(class_name)
    if bases is None:
        source = _imported_from(file, class_name)
        return (_imports(file)[class_name], *ancestors(*source)) if source else ()
    found: dict[tuple[str, str], None] = {}
    for word in re.sub(r"\[[^\]]*\]", "", bases).split(","):
        head, _, name = word.strip().rpartition(".")
        module, original = _imports(file).get(head.split(".")[0] or name, ("", ""))
        if head:
            module, original = f"{module}.{original}".rstrip(".") if module != head.split(".")[0] else head, name
        if not module:
            found |= dict.fromkeys(ancestors(file, name) if name in dict(CLASS.findall(_code(file))) else ())
            continue
        found[module, original] = None
        if module != "elboard" and not f"{module}.".startswith(tuple(f"{one}." for one in FOREIGN)):
            source = _file_of(module)
            found |= dict.fromkeys(ancestors(source, original) if source else ())
    return tuple(found)


def last_class(file: Path) -> str:
    """Name of the last class that ``file`` defines: by convention its method or its task."""
    names = [name for name, _ in CLASS.findall(_code(file))]
    if not names:
        raise UserError(f"{file}: has a CARD but defines no class")
    return names[-1]


def _beside(file: Path, start: Path) -> set[Path]:
    """The files beside ``file``, in its folder, in its package, in the folder ``start`` and in those of PYTHONPATH, that it imports, with
    the packages they are in; what is imported within functions counts too."""
    found: set[Path] = set()
    for node in ast.walk(tree(file)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            home = node.module or ""
            names = [home, *(f"{home}.{name}".strip(".") for name in names)]
        level = getattr(node, "level", 0)
        for parts in (name.split(".") for name in names if name and name.split(".")[0] != "elboard"):
            roots = [file.parents[level - 1]] if level else [file.parent, start, *_package_of(file), *_search_path()]
            places = [root.joinpath(*parts[:n]) for root in roots for n in range(1, len(parts) + 1)]
            found |= {path for place in places for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}
    return found


@cache
def _search_path() -> list[Path]:
    """Where modules are imported from that are neither Python's, nor installed, nor ours: PYTHONPATH, and sources that are worked on."""
    known = [Path(folder).resolve() for folder in (sys.prefix, sys.base_prefix, Path(__file__).parents[1])]
    found = [Path(folder).resolve() for folder in dict.fromkeys(sys.path) if os.path.isdir(folder or ".")]
    return [folder for folder in found if not any(folder.is_relative_to(one) for one in known) and not _holds_installed(folder)]


def _holds_installed(folder: Path) -> bool:
    """Whether other people's packages lie in ``folder``: of a user, a cluster or another environment, whose versions records say."""
    return folder.name in ("site-packages", "dist-packages") or any(name.endswith(".dist-info") for name in os.listdir(folder))


def _package_of(file: Path) -> list[Path]:
    """The folder from which the outermost package of ``file`` is imported, if it lies in one."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return [] if folder == file.parent else [folder]


@cache
def _all_of(file: Path) -> set[Path]:
    """``file`` and the modules beside it that it imports, and these import."""
    seen, left = set(), {file}
    while left:
        one = left.pop()
        seen.add(one)
        left |= _beside(one, file.parent) - seen
    return seen


@cache
def hash_of(file: Path) -> str:
    """16 hexadecimal digits of what ``file`` and the modules beside it that it imports, and these import, say."""
    says = {one: hashlib.sha256(text_of(one).encode()).hexdigest() for one in _all_of(file)}
    texts = [says.pop(file), *sorted(os.path.relpath(one, file.parent) + said for one, said in says.items())]
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]


def edited(file: Path) -> bool:
    """Whether any of the files whose :func:`hash_of` counts says something else by now."""
    try:
        return any(one.read_text(encoding="utf-8-sig") != text_of(one) for one in _all_of(file))
    except (OSError, UnicodeDecodeError):
        return True


def ways_to_test_data(file: Path) -> list[str]:
    """Where the method in ``file``, and what it imports beside it, could come to test data on purpose, a line each for a person to look at:
    imports of :data:`LOADERS`, names of :data:`WAYS`, and uses of its training's task other than :data:`OF_TASK`."""
    found = []
    for one in sorted(_all_of(file)):
        nodes = list(ast.walk(tree(one)))
        passed = {id(node.value) for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}  # docstrings
        passed |= {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in OF_TASK}
        passed |= {id(key) for key in _keys_of_cards(tree(one))}
        for node in nodes:
            way = "" if id(node) in passed else _way(node, one)
            if way:
                found.append(f"{one.name}:{node.lineno}: {way}")
    return found


def _keys_of_cards(module: ast.Module) -> Iterator[ast.AST]:
    """The keys of mappings in ``CARD = ...``: which task a base is of stands under one."""
    for node in module.body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["CARD"]:
            for part in ast.walk(node.value):
                yield from part.keys if isinstance(part, ast.Dict) else ()


def _way(node: ast.AST, file: Path) -> str:
    """What of ``node`` in ``file`` leads to test data; empty if nothing."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        home, level = getattr(node, "module", None) or "", getattr(node, "level", 0)
        if level and file.parents[min(level, len(file.parents)) - 1] == Path(__file__).resolve().parents[1]:
            home = f"elboard.{home}".rstrip(".")
        names = [f"{home}.{alias.name}".strip(".") for alias in node.names]
        return next((f"imports {name}" for name in names if f"{name}.".startswith(LOADERS)), "")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        said = next((word for word in ("elboard.tasks", *WAYS) if word in node.value), "task" if node.value == "task" else "")
        return said and f"says {said!r}"
    if isinstance(node, ast.Attribute) and (node.attr == "task" or ast.unparse(node) == "elboard.tasks"):
        return f"uses {ast.unparse(node)}"
    word = getattr(node, "attr", getattr(node, "id", ""))
    return f"uses {word}" if word in WAYS else ""
