"""Sweeps: a YAML file that expands to runs, and the plan of them that engines are given. Never imports torch.

name: my-sweep                      # the file's name if absent
budget: lite
seeds: 0-4
path: plugins                       # or a list: folders or files with methods and tasks of one's own, beside this file
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
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from elboard.bench import record as records
from elboard.bench.card import fits
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError, nearest
from elboard.bench.folders import path_of, places
from elboard.bench.registry import aliases, discover, here
from elboard.bench.registry import find as find_entry
from elboard.bench.runs import Runs
from elboard.sweeps.files import checked, grid_points, of_file, read
from elboard.sweeps.frontier import Frontier, History
from elboard.sweeps.search import Search, parse
from elboard.sweeps.work import Resources, needs, processes

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sweep:
    """An expanded sweep: its runs without repetitions, each after the run that it starts from, and what they need, by key; ``paths`` are
    those of methods and tasks outside the package.

    The runs of its searches are not among them: they become known as the searches go on.
    """

    name: str
    runs: tuple[RunSpec, ...]
    resources: dict[str, Resources] = field(default_factory=dict)
    searches: tuple[Search, ...] = ()
    paths: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Runs, with those of the searches."""
        return len(self.runs) + sum(search.trials + len(search.seeds) for search in self.searches)


def expand(file: Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None, paths: tuple[str, ...] = ()) -> Sweep:
    """The runs of a sweep's file or tree, in its order; the run that a post-hoc method starts from comes before it, once.

    ``overrides`` (from the command line) win over the file's ``set``, ``paths`` come before its own. Raises UserError as
    :func:`elboard.bench.config.resolve`.
    """
    tree, file = (checked(file["name"], file), file["name"]) if isinstance(file, Mapping) else (read(file), file)
    name = tree["name"]
    paths = (*paths, *(str(Path(file).parent / path_of(path)) for path in tree.get("path", ())))
    roots = places(paths)
    runs: dict[str, RunSpec] = {}
    searches: dict[tuple, Search] = {}
    for entry in tree["runs"]:
        seeds = entry.get("seeds", tree.get("seeds", [0]))
        budget = entry.get("budget", tree.get("budget", "lite"))
        fixed = {**tree.get("set", {}), **entry.get("set", {})}
        points = grid_points(entry.get("grid", {}))
        for task, method in _pairs(file, entry, paths):
            recipe = _recipe(file, entry, method, paths)
            for point in points:
                if _excluded(entry, {"task": task, "method": method, **point}, roots):
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
    words = resources_of(file, tree.get("resources", {}), [*runs.values(), *templates], roots)
    tuned = tuple(replace(search, resources=words) for search in searches.values())
    return Sweep(name, tuple(runs.values()), needs(words, runs.values()), tuned, paths)


def _recipe(file: Path, entry: Mapping, method: str, paths: tuple[str, ...]) -> dict[str, Any]:
    """The options of an entry's ``recipe``, none without one. Raises UserError where a method of the entry does not have it."""
    with of_file(file):
        return find_entry("method", method, tuple(map(Path, paths))).card.recipe(entry["recipe"]) if "recipe" in entry else {}


def _pairs(file: Path, entry: Mapping, paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """(task, method) of an entry; a pattern stands for the names that it matches, that fit and that have here what they require.

    Raises UserError for a pattern that matches nothing.
    """
    roots = places(paths)
    pairs: dict[tuple[str, str], None] = {}
    for task, method in itertools.product(entry["tasks"], entry["methods"]):
        found = [_matching(file, kind, word, roots) for kind, word in (("task", task), ("method", method))]
        literal = not any(map(_is_pattern, (task, method)))
        for t, m in itertools.product(*found):
            if literal or fits(find_entry("method", m, roots).card, find_entry("task", t, roots).card):
                pairs[t, m] = None
    return list(pairs)


def _is_pattern(word: str) -> bool:
    return any(character in word for character in "*?[")


def _matching(file: Path, kind: str, word: str, roots: tuple[Path, ...]) -> list[str]:
    known = discover(kind, roots)
    found = {name: known[name] for name in sorted(known) if fnmatch.fnmatchcase(name, word)}
    if _is_pattern(word) and found:
        return list(here(found))
    with of_file(file):
        if not found and word not in aliases(kind, roots) and any(fnmatch.filter(_beside(file, kind), word)):
            folder = Path(file).parent
            raise UserError(f"no {kind} {word!r} without `--path {shlex.quote(str(folder))}`, or `path: .` in the file")
        if _is_pattern(word):
            raise UserError(f"no {kind} matches {word!r}: {nearest(word, known)}")
        return [find_entry(kind, word, roots).card.name]


def _beside(file: Path, kind: str) -> list[str]:
    """Methods or tasks in the folder of ``file``, none where they cannot be read."""
    with suppress(UserError):
        return list(discover(kind, tuple(Path(file).parent.glob("*.py"))))
    return []


def _excluded(entry: Mapping, point: Mapping[str, Any], roots: tuple[Path, ...]) -> bool:
    others = aliases("method", roots)

    def named(rule: Mapping[str, Any]) -> dict[str, Any]:
        return {**rule, "method": others.get(rule["method"], rule["method"])} if "method" in rule else {**rule}

    return any(all(_same(point.get(name), value) for name, value in named(rule).items()) for rule in entry.get("exclude", ()))


def _same(value: Any, wanted: Any) -> bool:
    return fnmatch.fnmatchcase(value, wanted) if isinstance(value, str) and isinstance(wanted, str) else value == wanted


def resources_of(
    file: Path, tree: Mapping[str, Mapping], runs: Sequence[RunSpec], roots: tuple[Path, ...] = ()
) -> dict[str, dict[str, float]]:
    """The file's words on what runs need, by the names of methods and tasks; times in seconds."""
    parsed, known, others = {}, {"default", *(spec.task for spec in runs), *(spec.method for spec in runs)}, aliases("method", roots)
    for name, words in tree.items():
        if others.get(name, name) not in known:
            raise UserError(f"{file}: resources.{name} is no method or task of this sweep, {nearest(name, known)}")
        parsed[others.get(name, name)] = words
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
        """Write the plan into its folder and return the file. Raises UserError where that cannot be."""
        tree = vars(self) | {"root": str(self.root), "runs": [spec.to_dict() for spec in self.runs]}
        tree |= {"searches": list(map(asdict, self.searches)), "resources": {key: asdict(need) for key, need in self.resources.items()}}
        file = self.folder / "plan.json"
        try:
            records.write_text_atomically(file, json.dumps(tree))
        except OSError as error:
            raise UserError(f"{self.root}: cannot be written ({error.strerror}); choose another folder with --out") from None
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
        tree |= {"root": Path(tree["root"]), "paths": tuple(tree.get("paths", ())), "runs": tuple(map(RunSpec.from_dict, tree["runs"]))}
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
