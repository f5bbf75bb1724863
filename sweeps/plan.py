"""Sweeps: a YAML file that expands to runs. Never imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import RunSpec, resolve
from bench.errors import UserError, nearest

FOLDER = Path(__file__).parent
TOP = ("name", "description", "budget", "seeds", "set", "runs")
ENTRY = ("tasks", "methods", "budget", "seeds", "set", "grid")


@dataclass(frozen=True)
class Sweep:
    """An expanded sweep: its runs without repetitions, each after the run that it starts from."""

    name: str
    description: str
    runs: tuple[RunSpec, ...]


def named() -> dict[str, Path]:
    """The sweeps that ship with the package, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of the sweep ``name``, a shipped one or a path. Raises UserError with the nearest names."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise UserError(f"no sweep file {name!r}")
        return Path(name)
    sweeps = named()
    if name not in sweeps:
        raise UserError(f"no sweep {name!r}: {nearest(name, sweeps)}")
    return sweeps[name]


def read(file: Path) -> dict[str, Any]:
    """The tree of a sweep file. Raises UserError for bad YAML and for unknown keys."""
    import yaml

    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("runs"), list):
        raise UserError(f"{file}: a sweep is a mapping with a list `runs`")
    _check(file, tree, TOP)
    for entry in tree["runs"]:
        if not isinstance(entry, dict):
            raise UserError(f"{file}: each of `runs` is a mapping with tasks and methods")
        _check(file, entry, ENTRY)
        for need in ("tasks", "methods"):
            if not isinstance(entry.get(need), list) or not entry[need]:
                raise UserError(f"{file}: each of `runs` needs a list `{need}`")
    return tree


def _check(file: Path, tree: Mapping, known: Sequence[str]) -> None:
    for name in tree:
        if name not in known:
            raise UserError(f"{file}: unknown key {name!r}, {nearest(str(name), known)}")


def parse_seeds(given: Any) -> list[int]:
    """``3``, ``"0-4"``, ``"0,2,5-7"`` or a list -> seeds in order. Raises UserError for anything else."""
    if isinstance(given, int) and not isinstance(given, bool):
        return [given]
    if isinstance(given, list):
        return [seed for item in given for seed in parse_seeds(item)]
    seeds: list[int] = []
    try:
        for part in str(given).split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        raise UserError(f"seeds {given!r} are not of the form 0-4 or 0,1,2") from None
    if not seeds:
        raise UserError(f"seeds {given!r} are empty")
    return seeds


def expand(file: Path, overrides: Mapping[str, Any] | None = None, paths: tuple[str, ...] = ()) -> Sweep:
    """The runs of a sweep file, in its order; the run that a post-hoc method starts from comes before it, once.

    ``overrides`` (from the command line) win over the file's ``set``. Raises UserError as :func:`bench.config.resolve`.
    """
    tree = read(file)
    name = tree.get("name", file.stem)
    runs: dict[str, RunSpec] = {}
    for entry in tree["runs"]:
        seeds = parse_seeds(entry.get("seeds", tree.get("seeds", 0)))
        budget = entry.get("budget", tree.get("budget", "lite"))
        fixed = {**tree.get("set", {}), **entry.get("set", {})}
        for task, method in itertools.product(entry["tasks"], entry["methods"]):
            for point, seed in itertools.product(_grid(file, entry.get("grid", {})), seeds):
                options = {"wandb.group": name, **fixed, **point, **(overrides or {})}
                spec = resolve(task, method, seed=seed, budget=budget, overrides=options, origin=str(file), paths=paths)
                if spec.base is not None:
                    runs.setdefault(spec.base.key, spec.base)
                runs.setdefault(spec.key, spec)
    return Sweep(name, tree.get("description", ""), tuple(runs.values()))


def _grid(file: Path, grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{file}: grid.{name} must be a list of values")
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
