"""Configuration and identity of a run: defaults <- recipe <- task budget <- sweep file <- command line, and the key.

Nothing here imports torch: defaults are read from the source of methods and tasks (:mod:`elboard.bench.source`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError, nearest
from elboard.bench.registry import Entry, find

BUDGETS = ("smoke", "lite", "full")


@dataclass(kw_only=True)
class TrainConfig:
    """How long and on what batches a method trains; set by the task's budget, the same for all methods on it."""

    epochs: int = 10
    batch_size: int = 128  # 0: all examples in one batch
    validate_every: int = 1  # epochs between validations; 0: only after the last
    keep: str = "last"  # "last" epoch, or the "best" one by the task's selection metric on validation data


@dataclass(kw_only=True)
class TrainerConfig:
    """What reaches ``pytorch_lightning.Trainer``. Only ``precision`` changes results, so only it enters the key."""

    accelerator: str = "auto"
    devices: str = "1"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    threads: int = 1  # of the CPU; several small runs side by side are faster than one with many threads


@dataclass(kw_only=True)
class WandbConfig:
    """Where Weights & Biases runs go. ``mode`` is online, offline or disabled."""

    project: str = "elboard"
    entity: str = ""
    mode: str = "online"
    group: str = ""


SECTIONS = {"train": TrainConfig, "trainer": TrainerConfig, "wandb": WandbConfig}
IN_KEY = ("method", "train", "task")


@dataclass(frozen=True)
class RunSpec:
    """A frozen specification of a run. ``config`` has the sections method, train, task, trainer, wandb, all resolved.

    ``origin`` says what the run is for, not what it is: a trial of a search, or the search that chose its options. It goes into the
    record's notes; the key does not depend on it, and specifications that differ in nothing else are equal.

    ``bases`` are the runs that it starts from, by role (:attr:`elboard.bench.card.MethodCard.bases`); the seeds of those in ``fixed`` do
    not follow its own.
    """

    task: str
    task_version: int
    method: str
    method_version: int
    budget: str
    seed: int
    config: dict = field(hash=False)
    bases: dict[str, tuple[RunSpec, ...]] = field(default_factory=dict, hash=False)
    fixed: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    origin: dict = field(default_factory=dict, compare=False)

    def starts_from(self) -> list[RunSpec]:
        """The runs that must be done before this one, each after those that it starts from itself, none twice."""
        found: dict[str, RunSpec] = {}
        for runs in self.bases.values():
            for spec in runs:
                found |= {one.key: one for one in (*spec.starts_from(), spec) if one.key not in found}
        return list(found.values())

    def reseeded(self, seed: int) -> RunSpec:
        """This run with another seed; of the n runs of a role that does not have a fixed one, the i-th then has seed n * seed + i."""
        of = {
            role: runs if role in self.fixed else tuple(spec.reseeded(seed * len(runs) + i) for i, spec in enumerate(runs))
            for role, runs in self.bases.items()
        }
        return replace(self, seed=seed, bases=of)

    def identity(self) -> dict:
        """The canonical tree whose hash is the key: everything that changes the result, and nothing else."""
        tree = {
            "task": f"{self.task}@{self.task_version}",
            "method": f"{self.method}@{self.method_version}",
            "budget": self.budget,
            "seed": self.seed,
            "config": {section: self.config[section] for section in IN_KEY},
            "precision": self.config["trainer"]["precision"],
        }
        if self.bases:
            of = {role: [spec.identity() for spec in runs] for role, runs in self.bases.items()}
            tree |= {"base": of["classifier"][0]} if list(of) == ["classifier"] else {"bases": of}
        return tree

    def configuration(self) -> dict:
        """:meth:`identity` without seeds, those of runs that it starts from included."""
        return _unseeded(self.identity())

    @cached_property
    def key(self) -> str:
        canonical = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        tree = asdict(self)
        if not self.origin:
            del tree["origin"]
        bases = {role: [spec.to_dict() for spec in runs] for role, runs in self.bases.items()}
        return {**tree, "paths": list(self.paths), "bases": bases, "fixed": list(self.fixed)}

    @classmethod
    def from_dict(cls, tree: Mapping) -> RunSpec:
        tree = dict(tree)
        base = tree.pop("base", None)  # before there were roles
        of = {"classifier": [base]} if base else tree.get("bases", {})
        bases = {role: tuple(map(cls.from_dict, runs)) for role, runs in of.items()}
        return cls(**{**tree, "bases": bases, **{name: tuple(tree.get(name, ())) for name in ("fixed", "paths")}})


def _unseeded(tree: Mapping) -> dict:
    kept = {name: value for name, value in tree.items() if name not in ("seed", "base", "bases")}
    if "base" in tree:
        kept["base"] = _unseeded(tree["base"])
    if "bases" in tree:
        kept["bases"] = {role: list(map(_unseeded, runs)) for role, runs in tree["bases"].items()}
    return kept


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat.update(flatten(value, path + ".") if isinstance(value, Mapping) else {path: value})
    return flat


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """``["latent_dim=8", "train.epochs=3"]`` -> a flat dict; values are YAML scalars or lists.

    Raises UserError for a word without ``=`` or with a value that is not YAML.
    """
    import yaml

    overrides = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UserError(f"{word!r} is not of the form key=value")
        try:
            overrides[name] = numbers(yaml.safe_load(text))
        except yaml.YAMLError:
            raise UserError(f"{word!r}: the value is not valid YAML") from None
    return overrides


def numbers(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as text; people mean a number. Goes into lists and mappings."""
    if isinstance(value, list):
        return [numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: numbers(item) for name, item in value.items()}
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


@cache
def _defaults(schema: type) -> str:
    """The defaults of a structured configuration, as JSON: cheap to copy."""
    from omegaconf import OmegaConf

    return json.dumps(OmegaConf.to_container(OmegaConf.structured(schema), resolve=False))


@cache
def _checked(schema: type, name: str, text: str) -> tuple[Any, str]:
    """The value of JSON ``text`` as the type of ``schema``'s field ``name``, or the reason why it is none.

    OmegaConf decides; it takes a millisecond, and a sweep sets the same few values thousands of times.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    node = OmegaConf.structured(schema)
    try:
        OmegaConf.update(node, name, json.loads(text))
    except OmegaConfBaseException as error:
        kind = schema.__dataclass_fields__[name].type
        kind = getattr(kind, "__name__", str(kind)) if not getattr(kind, "__args__", None) else str(kind)
        return None, f"is not a valid {kind} ({str(error).splitlines()[0]})"
    return OmegaConf.to_container(node, resolve=False)[name], ""


def _merge(schema: type, layers: Sequence[tuple[str, Mapping]], section: str = "") -> dict:
    """Merge ``layers`` (where from, values) into the structured configuration ``schema``, checking keys and types."""
    merged = json.loads(_defaults(schema))
    for origin, values in layers:
        for name, value in values.items():
            if name not in merged:
                raise UserError(f"{origin}: no option {section + name!r}, {nearest(name, merged)}")
            try:
                found, reason = _checked(schema, name, json.dumps(value))
            except TypeError:
                reason = "is no plain value"
            if reason:
                raise UserError(f"{origin}: {section}{name}={value!r} {reason}")
            merged[name] = list(found) if isinstance(found, list) else found
    missing = [name for name, value in merged.items() if value == "???"]
    if missing:
        raise UserError(f"{layers[0][0] if layers else schema.__name__}: option {section}{missing[0]} has no default and must be set")
    return merged


def _split(overrides: Mapping[str, Any], roles: Sequence[str]) -> dict[str, dict]:
    """Sort flat overrides by section: a bare name is the method's own, ``train.``, ``task.`` ... name theirs, ``bases.<role>.`` that of a
    run that it starts from; ``base.`` where there is one role."""
    known = ("method", "task", *SECTIONS, *(f"bases.{role}" for role in roles), *(("base",) if len(roles) == 1 else ()))
    sections: dict[str, dict] = {name: {} for name in known}
    for path, value in overrides.items():
        head, dot, rest = path.partition(".")
        if head == "bases" and "." in rest:
            role, _, rest = rest.partition(".")
            head = f"bases.{role}"
        if not dot:
            sections["method"][path] = value
        elif head in sections:
            sections[head][rest] = value
        else:
            raise UserError(f"{path}: no section {head!r}, {nearest(head, known)}")
    for role in roles:
        sections[f"bases.{role}"] |= sections.get("base", {})
    return sections


def _recipe(entry: Entry, task: str) -> dict:
    recipes = entry.recipes()
    return {**recipes.get(task.split("/")[0], {}), **recipes.get(task, {})}


def declared(entry: Entry, budget: str = "") -> dict[str, dict]:
    """What ``entry`` declares before a run changes anything: a method's options; a task's, and how long methods train, at ``budget``."""
    origin, settings = str(entry.file), entry.budgets().get(budget, {})
    if entry.kind == "method":
        return _merge(entry.config_class(), [])
    schemas = {"task": entry.config_class(), "train": TrainConfig}
    return {name: _merge(schema, [(origin, settings.get(name, {}))], f"{name}.") for name, schema in schemas.items()}


def _layered(t: Entry, m: Entry, budget: str, given: Mapping[str, Mapping], origin: str) -> dict[str, dict]:
    """Defaults <- the method's recipe for the task <- the task's budget <- what was given, section by section."""
    settings, named = t.budgets()[budget], f"budget {budget} of {t.card.name}"
    layers = {section: [(named, settings.get(section, {}))] for section in ("task", "train")}
    layers["method"] = [(str(m.file), _recipe(m, t.card.name))]
    schemas = {"method": m.config_class(), "task": t.config_class(), **SECTIONS}
    return {
        name: _merge(schema, [*layers.get(name, []), (origin, given[name])], "" if name == "method" else f"{name}.")
        for name, schema in schemas.items()
    }


def resolve(
    task: str,
    method: str,
    *,
    seed: int = 0,
    budget: str = "lite",
    overrides: Mapping[str, Any] | None = None,
    origin: str = "command line",
    paths: tuple[str, ...] = (),
    within: tuple[str, ...] = (),
) -> RunSpec:
    """The frozen specification of one run.

    Args:
        task, method: names or aliases; must fit (the method offers the protocols that the task needs).
        overrides: flat dict; ``latent_dim`` or ``method.latent_dim``, ``train.epochs``, ``task.nll_k``, ``trainer.devices``,
            ``wandb.mode``, and for a method that starts from other runs ``base.method`` and ``base.<option>``, or
            ``bases.<role>.<option>``.
        origin: named in error messages.
        within: what starts from this run, outermost first.

    Raises:
        UserError: unknown names, unknown or badly typed options, a method that the task cannot use or that starts from itself.
    """
    roots = tuple(Path(path) for path in paths)
    t, m = find("task", task, roots), find("method", method, roots)
    task, method = t.card.name, m.card.name
    lacking = [need for need in t.card.needs if need not in m.card.offers]
    if lacking:
        raise UserError(f"{method} cannot run on {task}: it does not offer {', '.join(lacking)} (see `elboard show {method}`)")
    budgets = t.budgets()
    if budget not in budgets:
        raise UserError(f"{task} has no budget {budget!r}: {nearest(budget, budgets)}")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UserError(f"seed {seed!r} is not a whole number from 0 to 2**63 - 1")
    given = _split(overrides or {}, list(m.card.bases))
    config = _layered(t, m, budget, given, origin)
    _check_words(config, origin)
    spec = RunSpec(task, t.card.version, method, m.card.version, budget, seed, config, paths=tuple(str(p) for p in paths))
    within = (*within, f"{method} on {task}")
    if within[-1] in within[:-1]:
        raise UserError(f"{origin}: {', which starts from '.join(within)}: no run can start from itself")
    bases = {role: _base(spec, role, words, given, origin, within) for role, words in m.card.bases.items()}
    return replace(spec, bases=bases, fixed=tuple(role for role, words in m.card.bases.items() if "seed" in words))


def _base(spec: RunSpec, role: str, words: Mapping, given: Mapping[str, Mapping], origin: str, within: tuple) -> tuple[RunSpec, ...]:
    """The runs of a role of ``spec``, by what the card says of it and what was ``given``."""
    chosen = {**words.get("set", {}), **given[f"bases.{role}"]}
    task = words.get("task", spec.task)
    for section in ("task", "trainer") if task == spec.task else ("trainer",):  # the same data, the same hardware
        chosen = {**{f"{section}.{name}": value for name, value in given[section].items()}, **chosen}
    method, count = chosen.pop("method", words["method"]), words.get("count", 1)
    n = spec.config["method"][count] if isinstance(count, str) else count
    if n < 1:
        raise UserError(f"{origin}: {count}={n}: {spec.method} starts from at least one run")
    how = {"budget": words.get("budget", spec.budget), "overrides": chosen, "origin": origin, "paths": spec.paths, "within": within}
    first = resolve(task, method, seed=words.get("seed", spec.seed), **how)
    return tuple(first.reseeded(first.seed * n + i) for i in range(n))


def _check_words(config: Mapping, origin: str) -> None:
    if config["train"]["keep"] not in ("last", "best"):
        raise UserError(f"{origin}: train.keep={config['train']['keep']!r} is neither 'last' nor 'best'")
    if config["wandb"]["mode"] not in ("online", "offline", "disabled"):
        raise UserError(f"{origin}: wandb.mode={config['wandb']['mode']!r} is none of online, offline, disabled")
    if config["train"]["epochs"] < 0 or config["train"]["batch_size"] < 0:
        raise UserError(f"{origin}: train.epochs must be at least 0 and train.batch_size at least 0")


def difference(a: Mapping, b: Mapping) -> dict[str, tuple[Any, Any]]:
    """Leaves in which two identity trees differ: ``{"config.train.epochs": (15, 20)}``; None stands for an absent leaf."""
    left, right = flatten(a), flatten(b)
    return {name: (left.get(name), right.get(name)) for name in sorted({*left, *right}) if left.get(name) != right.get(name)}
