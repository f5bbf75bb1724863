"""Sweeps: a YAML file that expands to runs, and the plan of them that engines are given. Never imports torch.

name: my-sweep                      # the file's name if absent
budget: lite
seeds: 0-4
set: {trainer.precision: bf16-mixed}
resources:                          # by method, by task or for all ("default"); cpus, gpus (fractions too), memory in GiB, time
  default: {cpus: 1, time: 30m}
  iwae: {gpus: 0.5}
runs:
  - tasks: [generation/*]           # names or patterns; pairs that do not fit are left out for patterns alone
    methods: [vae, iwae]
    grid: {latent_dim: [8, 16], lr: {logspace: [1e-4, 1e-2, 3]}}
    exclude: [{method: iwae, latent_dim: 8}]
  - tasks: [generation/mnist]
    methods: [vae]
    search:                         # one for each task, method and point of the grid; the best by validation is then run on the seeds
      sampler: tpe                  # or random
      trials: 20
      space: {lr: {log: [1e-4, 1e-1]}, latent_dim: {int: [2, 64]}, weight_decay: {float: [0, 0.1]}, optimizer: [adam, sgd]}
      seed: 0                       # of the sampler
      trial_seed: 1000              # of all trials' runs; none of the seeds
      parallel: 4                   # trials at a time
      prune: asha                   # or none; grace: epochs before a trial may be given up, a ninth of all if absent
"""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.card import fits
from elboard.bench.config import RunSpec, numbers, parse_seeds, resolve
from elboard.bench.errors import UserError, nearest
from elboard.bench.registry import aliases, discover, here
from elboard.bench.registry import find as find_entry
from elboard.bench.runs import Runs
from elboard.sweeps.frontier import Frontier, History
from elboard.sweeps.search import Search, parse
from elboard.sweeps.work import Resources, needs, processes

FOLDER = Path(__file__).parent
TOP = ("name", "description", "budget", "seeds", "set", "resources", "runs")
ENTRY = ("tasks", "methods", "budget", "seeds", "recipe", "set", "grid", "exclude", "search")
NEEDS = ("cpus", "gpus", "memory", "time")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Sweep:
    """An expanded sweep: its runs without repetitions, each after the run that it starts from, and what they need, by key.

    The runs of its searches are not among them: they become known as the searches go on.
    """

    name: str
    runs: tuple[RunSpec, ...]
    resources: dict[str, Resources] = field(default_factory=dict)
    searches: tuple[Search, ...] = ()

    @property
    def size(self) -> int:
        """Runs, with those of the searches."""
        return len(self.runs) + sum(search.trials + len(search.seeds) for search in self.searches)


def read(file: Path) -> dict[str, Any]:
    """The tree of a sweep file. Raises UserError for bad YAML and for unknown keys."""
    tree = numbers(read_yaml(file))
    if not isinstance(tree, dict) or not isinstance(tree.get("runs"), list):
        raise UserError(f"{file}: a sweep is a mapping with a list `runs`")
    check_keys(file, tree, TOP)
    for entry in tree["runs"]:
        if not isinstance(entry, dict):
            raise UserError(f"{file}: each of `runs` is a mapping with tasks and methods")
        check_keys(file, entry, ENTRY)
        for need in ("tasks", "methods"):
            if not isinstance(entry.get(need), list) or not entry[need]:
                raise UserError(f"{file}: each of `runs` needs a list `{need}`")
    return tree


def read_yaml(file: Path) -> Any:
    """The content of ``file``. Raises UserError for bad YAML."""
    import yaml

    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML ({str(error).splitlines()[0]})") from None


def check_keys(file: Path, tree: Mapping, known: Iterable[str]) -> None:
    """Raises UserError for a key of ``tree`` that is not ``known``."""
    for name in tree:
        if name not in known:
            raise UserError(f"{file}: unknown key {name!r}, {nearest(str(name), known)}")


def parse_time(given: Any) -> float:
    """Seconds of ``90``, ``"30m"``, ``"1h30m"`` or ``"2d"``. Raises UserError for anything else."""
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return float(given)
    if not isinstance(given, str) or not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", given):
        raise UserError(f"time {given!r} is not of the form 90, 30m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", given))


def expand(file: Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None, paths: tuple[str, ...] = ()) -> Sweep:
    """The runs of a sweep's file or tree, in its order; the run that a post-hoc method starts from comes before it, once.

    ``overrides`` (from the command line) win over the file's ``set``. Raises UserError as :func:`elboard.bench.config.resolve`.
    """
    tree, file = (file, file["name"]) if isinstance(file, Mapping) else (read(file), file)
    name = tree.get("name") or file.stem
    runs: dict[str, RunSpec] = {}
    searches: dict[tuple, Search] = {}
    for entry in tree["runs"]:
        seeds = parse_seeds(entry.get("seeds", tree.get("seeds", 0)))
        budget = entry.get("budget", tree.get("budget", "lite"))
        fixed = {**tree.get("set", {}), **entry.get("set", {})}
        points = grid_points(file, entry.get("grid", {}))
        for task, method in _pairs(file, entry, paths):
            recipe = _recipe(file, entry, method, paths)
            for point in points:
                if _excluded(file, entry, {"task": task, "method": method, **point}):
                    continue
                given = ({"wandb.group": name}, recipe, fixed, point, overrides or {})
                # By one name each: under the other one an earlier value would stand.
                options = {option.removeprefix("method."): value for of in given for option, value in of.items()}
                if "search" in entry:
                    run = {"task": task, "method": method, "budget": budget, "options": options, "seeds": tuple(seeds), "paths": paths}
                    found = parse(file, entry["search"], (*point, *(overrides or {})), **run)
                    searches.setdefault((found.id, found.trials, found.seeds), found)
                    continue
                first = resolve(task, method, seed=seeds[0], budget=budget, overrides=options, origin=str(file), paths=paths)
                for spec in (first.reseeded(seed) for seed in seeds):
                    for one in (*spec.starts_from(), spec):
                        runs.setdefault(one.key, one)
    templates = [one for search in searches.values() for one in (*search.template.starts_from(), search.template)]
    words = resources_of(file, tree.get("resources", {}), [*runs.values(), *templates])
    tuned = tuple(replace(search, resources=words) for search in searches.values())
    return Sweep(name, tuple(runs.values()), needs(words, runs.values()), tuned)


def _recipe(file: Path, entry: Mapping, method: str, paths: tuple[str, ...]) -> dict[str, Any]:
    """The options of an entry's ``recipe``, none without one. Raises UserError where a method of the entry does not have it."""
    try:
        return find_entry("method", method, tuple(map(Path, paths))).card.recipe(str(entry["recipe"])) if "recipe" in entry else {}
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _pairs(file: Path, entry: Mapping, paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """(task, method) of an entry; a pattern stands for the names that it matches, that fit and that have here what they require.

    Raises UserError for a pattern that matches nothing.
    """
    roots = tuple(Path(path) for path in paths)
    pairs: dict[tuple[str, str], None] = {}
    for task, method in itertools.product(entry["tasks"], entry["methods"]):
        found = [_matching(file, kind, str(word), roots) for kind, word in (("task", task), ("method", method))]
        literal = not any(map(_is_pattern, (task, method)))
        for t, m in itertools.product(*found):
            if literal or fits(find_entry("method", m, roots).card, find_entry("task", t, roots).card):
                pairs[t, m] = None
    return list(pairs)


def _is_pattern(word: Any) -> bool:
    return any(character in str(word) for character in "*?[")


def _matching(file: Path, kind: str, word: str, roots: tuple[Path, ...]) -> list[str]:
    if not _is_pattern(word):
        return [find_entry(kind, word, roots).card.name]
    known = discover(kind, roots)
    found = {name: known[name] for name in sorted(known) if fnmatch.fnmatchcase(name, word)}
    if not found:
        raise UserError(f"{file}: no {kind} matches {word!r}: {nearest(word, known)}")
    return list(here(found))


def grid_points(file: Path, grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations of a grid whose values are lists, ``{range: [a, b, step]}``, ``{linspace: [a, b, n]}`` or ``{logspace: [a, b, n]}``
    (b included in all three)."""
    columns = [_values(file, name, values) for name, values in grid.items()]
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*columns)]


def _values(file: Path, name: str, given: Any) -> list[Any]:
    if isinstance(given, list) and given:
        return given
    kind, numbers = next(iter(given.items())) if isinstance(given, dict) and len(given) == 1 else (None, None)
    plain = isinstance(numbers, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers)
    if kind == "range" and plain and len(numbers) in (2, 3) and (len(numbers) == 2 or numbers[2] > 0):
        a, b, step = (*numbers, 1)[:3]
        return [a + i * step for i in range(int((b - a) / step + 1e-9) + 1)]
    if kind in ("linspace", "logspace") and plain and len(numbers) == 3 and isinstance(numbers[2], int) and numbers[2] > 1:
        a, b, n = numbers
        if kind == "linspace":
            return [a + (b - a) * i / (n - 1) for i in range(n)]
        if a > 0 and b > 0:  # twelve digits, so that 1e-3 comes out as written
            return [float(f"{math.exp(math.log(a) + (math.log(b) - math.log(a)) * i / (n - 1)):.12g}") for i in range(n)]
    raise UserError(f"{file}: grid.{name} must be a list of values, or range, linspace or logspace: [first, last, step or count]")


def _excluded(file: Path, entry: Mapping, point: Mapping[str, Any]) -> bool:
    rules = entry.get("exclude", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) and rule for rule in rules):
        raise UserError(f"{file}: `exclude` is a list of mappings such as {{method: iwae, lr: 0.1}}")
    others = aliases("method")
    rules = [rule | {"method": others.get(str(rule["method"]), rule["method"])} if "method" in rule else rule for rule in rules]
    return any(all(_same(point.get(name), value) for name, value in rule.items()) for rule in rules)


def _same(value: Any, wanted: Any) -> bool:
    return fnmatch.fnmatchcase(value, wanted) if isinstance(value, str) and isinstance(wanted, str) else value == wanted


def resources_of(file: Path, tree: Mapping[str, Mapping], runs: Sequence[RunSpec]) -> dict[str, dict[str, float]]:
    """The file's words on what runs need, checked; times in seconds."""
    parsed, known, others = {}, {"default", *(spec.task for spec in runs), *(spec.method for spec in runs)}, aliases("method")
    for name, words in tree.items():
        if others.get(name, name) not in known:
            raise UserError(f"{file}: resources.{name} is no method or task of this sweep, {nearest(name, known)}")
        if not isinstance(words, dict):
            raise UserError(f"{file}: resources.{name} is a mapping with {', '.join(NEEDS)}")
        check_keys(file, words, NEEDS)
        parsed[others.get(name, name)] = {need: parse_time(value) if need == "time" else value for need, value in words.items()}
    return parsed


# --- what engines are given ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plan(Sweep):
    """What a worker must know: a sweep under a folder of runs, saved as ``<root>/sweeps/<id>/plan.json`` for workers that come and go.

    ``id`` names it on the scheduler; ``forgiven`` are old failed attempts, by key.
    """

    id: str
    root: Path
    tracker: str
    forgiven: dict[str, list[str]]

    @property
    def folder(self) -> Path:
        return self.root / "sweeps" / self.id

    @property
    def known(self) -> Runs:
        """What has become of its runs."""
        return Runs(self.root, self.forgiven)

    @property
    def common(self) -> dict[str, Any]:
        """What :func:`elboard.sweeps.engines.local.run_all` is told of all its runs."""
        return {"root": self.root, "tracker": self.tracker, "resources": self.resources, "forgiven": self.forgiven}

    def histories(self) -> list[History]:
        """What has become of the searches."""
        return [History(search, self.known).look() for search in self.searches]

    def frontier(self, searches: Sequence[Search] | None = None) -> Frontier:
        """The runs of the searches (all, or some) as they become known; adds what they need to ``resources``."""
        return Frontier(self.searches if searches is None else searches, self.known, self.resources)

    def unfinished(self) -> list[RunSpec]:
        """The runs that are neither done nor failed for good, of searches those that could go on now."""
        own = [spec for spec in self.runs if self.known.over(spec) is None]
        return own + [spec for history in self.histories() for spec in history.unfinished()]

    def save(self) -> Path:
        """Write the plan into its folder and return the file."""
        tree = vars(self) | {"root": str(self.root), "runs": [spec.to_dict() for spec in self.runs]}
        tree |= {"searches": list(map(asdict, self.searches)), "resources": {key: asdict(need) for key, need in self.resources.items()}}
        file = self.folder / "plan.json"
        records.write_text_atomically(file, json.dumps(tree))
        return file


def plan_of(sweep: Sweep, root: Path, tracker: str = "none") -> Plan:
    """The plan of ``sweep``: the same runs under ``root`` give the same id. What has failed until now is forgiven."""
    keys = "".join(sorted([*(spec.key for spec in sweep.runs), *(f"{s.id} {s.trials} {s.seeds}" for s in sweep.searches)]))
    known, forgiven = Runs(root), {}
    for search in sweep.searches:
        forgiven |= History(search, known).look().forgivable()
    forgiven |= known.failures(sweep.runs)
    name = f"{sweep.name}-{hashlib.sha256(keys.encode()).hexdigest()[:8]}"
    return Plan(**vars(sweep), id=name, root=root.resolve(), tracker=tracker, forgiven=forgiven)


def load(file: Path) -> Plan:
    """Raises UserError where ``file`` is no plan."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        tree |= {"root": Path(tree["root"]), "runs": tuple(map(RunSpec.from_dict, tree["runs"]))}
        tree["resources"] = {key: Resources(**words) for key, words in tree["resources"].items()}
        return Plan(**tree | {"searches": tuple(map(Search.from_dict, tree["searches"]))})
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is no plan of a sweep, or one of an older version: `elboard sweep` writes it anew") from None


def plans(root: Path) -> dict[str, Path]:
    """The plan files under ``root`` by id, the newest last."""
    files = sorted((root / "sweeps").glob("*/plan.json"), key=lambda file: file.stat().st_mtime)
    return {file.parent.name: file for file in files}


def shape(spec: RunSpec) -> tuple[int, int]:
    """(nodes, processes a node) of a run: runs of one shape can share an allocation."""
    nodes = spec.config["trainer"]["num_nodes"]
    return (nodes, processes(spec) // nodes) if nodes > 1 else (1, 1)
