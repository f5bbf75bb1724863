"""Configuration and identity of a run: defaults <- task budget <- sweep file <- command line, and the key.

Nothing here imports torch: defaults are read from the source of methods and tasks (:mod:`elboard.bench.source`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from elboard.bench import document, plain
from elboard.bench.errors import UserError, nearest
from elboard.bench.folders import places
from elboard.bench.identity import IN_KEY, differing, key_of, tree_of
from elboard.bench.options import Count, Form, Natural, kinds, schema_of_class
from elboard.bench.registry import Entry, code_of, discover, find

BUDGETS = ("smoke", "lite", "full")
MOST_SEEDS, LARGEST_SEED = 100_000, 2**32  # of a seed torch's generator on the CPU uses 32 bits: beyond them two seeds are one
RESOLVED = ("task", "task_version", "method", "method_version", "budget", "seed", "config")


@dataclass(kw_only=True)
class TrainConfig:
    """How long and on what batches a method trains; set by the task's budget, the same for all methods on it."""

    epochs: Natural = 10
    batch_size: Natural = 128  # 0: all examples in one batch
    validate_every: Natural = 1  # epochs between validations; 0: only after the last
    keep: Literal["last", "best"] = "last"  # "last" epoch, or the "best" one by the task's selection metric on validation data


@dataclass(kw_only=True)
class TrainerConfig:
    """What reaches ``pytorch_lightning.Trainer``. Only ``precision`` changes results, so only it enters the key."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    devices: Annotated[str, Form(r"auto|-1|[1-9]\d{0,4}|\d+(,\d*)+", "a number of at least 1, -1, auto or numbers with commas")] = "1"
    num_nodes: Count = 1
    strategy: Literal[
        "auto", "single_device", "ddp", "ddp_spawn", "ddp_fork", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false",
        "fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_2_offload",
        "deepspeed_stage_3", "deepspeed_stage_3_offload", "deepspeed_stage_3_offload_nvme", "xla",
    ] = "auto"  # fmt: skip
    precision: Literal[
        "32-true", "32", "16-mixed", "16", "bf16-mixed", "bf16", "16-true", "bf16-true", "64-true", "64",
        "transformer-engine", "transformer-engine-float16",
    ] = "32-true"  # fmt: skip
    threads: Count = 1  # of the CPU; several small runs side by side are faster than one with many threads


@dataclass(kw_only=True)
class WandbConfig:
    """Where Weights & Biases runs go."""

    project: str = "elboard"
    entity: str = ""
    mode: Literal["online", "offline", "disabled"] = "online"
    group: str = ""


SECTIONS = {name: schema_of_class(cls) for name, cls in (("train", TrainConfig), ("trainer", TrainerConfig), ("wandb", WandbConfig))}


@dataclass(frozen=True)
class RunSpec:
    """A frozen specification of a run. ``config`` has the sections method, train, task, trainer, wandb, all resolved.

    ``origin`` says what the run is for, not what it is: a trial of a search, or the search that chose its options. It goes into the
    record's notes; the key does not depend on it, and specifications that differ in nothing else are equal.

    ``bases`` are the runs that it starts from, by role (:attr:`elboard.bench.card.MethodCard.bases`); the seeds of those in ``fixed`` do
    not follow its own. ``options`` are those of ``config`` that differ from what the code of these versions declares, by section, and
    ``code`` the hashes of code from outside the package: with them the key is known where that code is not (:mod:`elboard.bench.identity`).
    """

    task: str
    task_version: int
    method: str
    method_version: int
    budget: str
    seed: int
    config: dict = field(hash=False)
    options: dict = field(default_factory=dict, hash=False)
    code: dict = field(default_factory=dict, hash=False)
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

    def identity(self) -> dict[str, Any]:
        """The canonical tree whose hash is the key."""
        return tree_of(self)

    @cached_property
    def key(self) -> str:
        return key_of(self.identity())

    def resolved(self) -> dict[str, Any]:
        """What a record says beside the identity: names, versions, budget, seed, the whole configuration; of its bases too."""
        tree = {name: getattr(self, name) for name in RESOLVED}
        return tree | {"bases": {role: [spec.resolved() for spec in runs] for role, runs in self.bases.items()}}

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON, for plans and for other processes."""
        bases = {role: [spec.to_dict() for spec in runs] for role, runs in self.bases.items()}
        return {**asdict(self), "paths": list(self.paths), "bases": bases, "fixed": list(self.fixed)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> RunSpec:
        """Undo :meth:`to_dict`. Raises KeyError for a plan from before, which has no ``options``."""
        bases = {role: tuple(map(cls.from_dict, runs)) for role, runs in tree["bases"].items()}
        said = {"options": tree["options"], "fixed": tuple(tree["fixed"]), "paths": tuple(tree["paths"])}
        return cls(**{**tree, **said, "bases": bases})

    @classmethod
    def joined(cls, tree: Mapping[str, Any], identity: Mapping[str, Any]) -> RunSpec:
        """The specification of which a record says :meth:`resolved` and :meth:`identity`."""
        of = identity.get("bases", {})
        bases = {role: tuple(cls.joined(*pair) for pair in zip(runs, of[role], strict=True)) for role, runs in tree["bases"].items()}
        fixed = tuple(role for role, trees in of.items() if "seed" in trees[0])
        said = {name: identity.get(name, {}) for name in ("options", "code")}
        return cls(**{name: tree[name] for name in RESOLVED}, **said, bases=bases, fixed=fixed)


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """``["latent_dim=8", "train.epochs=3"]`` -> a flat dict; values are YAML scalars or lists.

    Raises UserError for a word without ``=`` or with a value that is not YAML.
    """
    overrides = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UserError(f"{word!r} is not of the form key=value")
        overrides[name] = document.read(repr(word if len(word) < 80 else f"{word[:77]}..."), text)
    return overrides


@cache
def _structured(schema: type) -> tuple[Any, str]:
    """A structured configuration, which takes OmegaConf milliseconds to make, and its defaults as JSON, which are cheap to copy."""
    from omegaconf import OmegaConf

    node = OmegaConf.structured(schema)
    return node, json.dumps(OmegaConf.to_container(node, resolve=False))


@cache
def _checked(schema: type, name: str, text: str) -> tuple[Any, str]:
    """The value of JSON ``text`` as ``schema``'s option ``name`` has it, or the reason why it cannot.

    OmegaConf brings it to the type, which takes a millisecond, and a sweep sets the same few values thousands of times. What other options
    of the node are set to is of no account.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    node, kind, given = _structured(schema)[0], kinds(schema)[name], json.loads(text)
    try:
        OmegaConf.update(node, name, given)
        found = OmegaConf.to_container(OmegaConf.masked_copy(node, name), resolve=False)[name]
    except (OmegaConfBaseException, OverflowError):
        return None, f" is no {kind}"
    whole = kind.type is bool and type(given) is int and given not in (0, 1)  # which OmegaConf takes for true
    return found, f" is no {kind}" if whole else kind.wrong(found)


def merge(schema: type, origin: str, values: Mapping, section: str = "method", start: Mapping[str, Any] | None = None) -> dict:
    """Merge ``values`` from ``origin`` into ``start``, else the defaults of the structured configuration ``schema``, checking keys,
    types, words and ranges. An option without a default is "???" until one sets it."""
    merged = json.loads(_structured(schema)[1]) if start is None else {**start}
    prefix = "" if section == "method" else f"{section}."
    for name, value in values.items():
        if name not in merged:
            raise UserError(f"{origin}: no option {prefix + name!r}, {nearest(name, merged)}")
        try:
            found, reason = _checked(schema, name, json.dumps(value))
        except TypeError:
            reason = " is no plain value"
        if reason:
            raise UserError(f"{origin}: {prefix}{name}={value!r}{reason}")
        merged[name] = found
    missing = "" if start is None else next((name for name, value in merged.items() if value == "???"), "")
    if missing:
        raise UserError(f"{origin}: option {prefix}{missing} has no default and must be set")
    return {name: list(value) if isinstance(value, list) else value for name, value in merged.items()}


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


def _schemas(t: Entry, m: Entry) -> dict[str, type]:
    return {"method": m.config_class(), "task": t.config_class(), **SECTIONS}


@cache
def _declared_for(t: Entry, m: Entry, budget: str) -> dict[str, dict]:
    """What a run is before anything is given: defaults <- the task's budget, section by section. Raises UserError without that budget.

    A budget's section ``method`` names the network of all methods on the task, by an option (``backbone``): those without it, as detectors
    on top of another run, have none to name.
    """
    name, budgets = t.card.name, t.budgets()
    if budget not in budgets:
        raise UserError(f"{name} has no budget {budget!r}: {nearest(budget, budgets)}")
    given = {section: budgets[budget].get(section, {}) for section in ("task", "train", "method")}
    own = m.config_class().__dataclass_fields__
    given["method"] = {option: value for option, value in given["method"].items() if option in own}
    return {of: merge(schema, f"budget {budget} of {name}", given.get(of, {}), of) for of, schema in _schemas(t, m).items()}


def declared_for(spec: RunSpec) -> dict[str, dict]:
    """The configuration of a run like ``spec`` to which nothing was given, by the code that is here. Raises UserError for unknown names."""
    t, m = (find(kind, getattr(spec, kind), tuple(map(Path, spec.paths))) for kind in ("task", "method"))
    return _declared_for(t, m, spec.budget)


def restated(spec: RunSpec, roots: Sequence[Path] = ()) -> RunSpec:
    """``spec`` as the code that is here states it: an option that it lacks is at its default, those that differ are found anew.

    Raises UserError where the versions of its task and method are not here.
    """
    t, m = (find(kind, getattr(spec, kind), tuple(roots)) for kind in ("task", "method"))
    for entry, version in ((t, spec.task_version), (m, spec.method_version)):
        if entry.card.version != version:
            raise UserError(f"{entry.card.name} is version {entry.card.version} here, not {version}")
    known = _declared_for(t, m, spec.budget)
    config = {**spec.config, **{section: {**known[section], **spec.config[section]} for section in IN_KEY}}
    bases = {role: tuple(restated(run, roots) for run in runs) for role, runs in spec.bases.items()}
    names = {"task": t.card.name, "method": m.card.name}
    said = {"options": differing(config, known), "code": code_of(t, m), "paths": tuple(map(str, roots))}
    return replace(spec, **names, **said, config=config, bases=bases)


def check_options(spec: RunSpec, roots: Sequence[Path] = ()) -> None:
    """Raises UserError where an option of ``spec``, or of a run that it starts from, is none of the task or method of its version here, or
    not of its type; says nothing of versions that are not here."""
    for run in (spec, *spec.starts_from()):
        for kind in ("task", "method"):
            entry = discover(kind, tuple(roots)).get(getattr(run, kind))
            if entry is None or entry.card.version != getattr(run, f"{kind}_version"):
                continue
            for section, schema in ((kind, entry.config_class()), *((name, SECTIONS[name]) for name in ("train", "trainer"))):
                said = run.config[section]
                for name, value in merge(schema, f"{run.method} on {run.task}", said, section).items():
                    if name in said and (said[name] != value or type(said[name]) is not type(value)):
                        raise UserError(f"{run.method} on {run.task}: {section}.{name}={said[name]!r:.60} is {value!r:.60} by its type")


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
    roots = places(paths)
    t, m = find("task", task, roots), find("method", method, roots)
    task, method = t.card.name, m.card.name
    lacking = [need for need in t.card.needs if need not in m.card.offers]
    if lacking:
        raise UserError(f"{method} cannot run on {task}: it does not offer {', '.join(lacking)} (see `elboard show {method}`)")
    known = _declared_for(t, m, budget)
    if not isinstance(seed, int) or not 0 <= seed < LARGEST_SEED:
        raise UserError(f"seed {seed!r} is not a whole number from 0 to {LARGEST_SEED - 1:,}")
    given = _split(overrides or {}, list(m.card.bases))
    config = {name: merge(schema, origin, given[name], name, known[name]) for name, schema in _schemas(t, m).items()}
    said = {"options": differing(config, known), "code": code_of(t, m), "paths": tuple(map(str, roots))}
    spec = RunSpec(task, t.card.version, method, m.card.version, budget, seed, config, **said)
    within = (*within, f"{method} on {task}")
    if within[-1] in within[:-1]:
        raise UserError(f"{origin}: {', which starts from '.join(within)}: no run can start from itself")
    bases = {role: _base(spec, role, words, given, origin, within) for role, words in m.card.bases.items()}
    spec = replace(spec, bases=bases, fixed=tuple(role for role, words in m.card.bases.items() if "seed" in words))
    if len(within) == 1:
        try:
            plain.check_spec(spec.resolved())
        except ValueError as error:
            raise UserError(f"{origin}: {error}: no record could say it") from None
    return spec


def _base(spec: RunSpec, role: str, words: Mapping, given: Mapping[str, Mapping], origin: str, within: tuple) -> tuple[RunSpec, ...]:
    """The runs of a role of ``spec``, by what the card says of it and what was ``given``."""
    chosen = {**words.get("set", {}), **given[f"bases.{role}"]}
    task = words.get("task", spec.task)
    if isinstance(task, dict):
        if spec.task not in task:
            said = f"{spec.method} has no {role} for {spec.task}, only for {', '.join(sorted(task))}"
            raise UserError(f"{origin}: {said}")
        task = task[spec.task]
    for section in ("task", "trainer") if task == spec.task else ("trainer",):  # the same data, the same hardware
        chosen = {**{f"{section}.{name}": value for name, value in given[section].items()}, **chosen}
    method, count = str(chosen.pop("method", words["method"])), words.get("count", 1)
    n = spec.config["method"][count] if isinstance(count, str) else count
    if n < 1:
        raise UserError(f"{origin}: {count}={n}: {spec.method} starts from at least one run")
    if task == spec.task and (n > 1 or "seed" in words) and "split" in find("task", task, tuple(map(Path, spec.paths))).card.varies:
        said = f"{task} splits its data by the seed, and {role} of {spec.method} have others than the run"
        raise UserError(f"{origin}: {said}: they would have been trained on what it is tested on")
    how = {"budget": words.get("budget", spec.budget), "overrides": chosen, "origin": origin, "paths": spec.paths, "within": within}
    first = resolve(task, method, seed=words.get("seed", spec.seed), **how)
    return tuple(first.reseeded(first.seed * n + i) for i in range(n))


def parse_seeds(given: Any) -> list[int]:
    """``3``, ``"0-4"``, ``"0,2,5-7"`` or a list -> seeds in order. Raises UserError for anything else."""
    seeds: list[int] = []
    for part in given if isinstance(given, list) else str(given).split(","):
        found = re.fullmatch(r"\s*(\d{1,20})(?:-(\d{1,20}))?\s*", "" if isinstance(part, bool) else str(part))
        if not found:
            raise UserError(f"seeds {given!r} are not of the form 0-4 or 0,1,2")
        first, last = int(found[1]), int(found[2] or found[1])
        if last >= LARGEST_SEED or last - first >= MOST_SEEDS:
            raise UserError(f"seeds {given!r}: at most {MOST_SEEDS:,}, below {LARGEST_SEED:,}")
        seeds += range(first, last + 1)
    if not seeds or len(seeds) > MOST_SEEDS:
        raise UserError(f"seeds {given!r} are {'too many' if seeds else 'empty'}")
    return seeds
