"""Searches over a method's options, as sweep files state them: what is fixed, what is searched, and how. What becomes of a search is in
:mod:`elboard.sweeps.frontier`. Never imports torch; Optuna only for TPE.

Proposals are functions of the space, the seed, the number of the trial and the trials before it, and of nothing else: no sampler keeps a
state between them. So any process can make the next one, and one that makes it again gets the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from elboard.bench.config import LARGEST_SEED, RunSpec, resolve
from elboard.bench.errors import UserError, nearest
from elboard.bench.metrics.conventions import convention
from elboard.sweeps import trials
from elboard.sweeps.work import Words

KINDS = ("log", "float", "int")
SAMPLERS = ("tpe", "random")
UNFIT = ("nan", "oom", "timeout")  # failures that the parameters are to blame for
WORDS = ("sampler", "trials", "space", "seed", "trial_seed", "parallel", "prune", "grace")
PRUNERS = ("asha", "none")

Space = Mapping[str, Any]


@dataclass(kw_only=True)
class Seen:
    """A trial as a sampler sees it.

    Attributes:
        state: running (or not yet begun), done, pruned or failed.
        value: the selection metric on validation data, of a pruned trial after ``epochs`` epochs; None where there is none.
        why: the class of a failure.
    """

    parameters: dict[str, Any]
    state: str = "running"
    value: float | None = None
    epochs: int = 0
    why: str = ""


@dataclass(frozen=True)
class Search:
    """One search: a method on a task, with all options but those of ``space`` fixed.

    Attributes:
        options: overrides that all its runs share, as in :func:`elboard.bench.config.resolve`.
        space: domains by option, see :func:`check_space`.
        seeds: of the runs with the chosen options; none of the trials' own.
        sampler: tpe or random; ``seed`` is the sampler's.
        trials: how many; a search that is asked for more goes on from those that it has.
        trial_seed: of all trials' runs.
        parallel: trials that may be open at a time under tpe; a random search opens all.
        prune: asha or none; ``grace`` are the epochs before its first rung, 0 for a ninth of all.
        resources: what runs need, in the words of the sweep file.
    """

    task: str
    method: str
    budget: str
    options: dict[str, Any]
    space: dict[str, Any]
    seeds: tuple[int, ...]
    sampler: str = "tpe"
    trials: int = 20
    seed: int = 0
    trial_seed: int = 1000
    parallel: int = 4
    prune: str = "none"
    grace: int = 0
    file: str = "search"
    paths: tuple[str, ...] = ()
    resources: Words = field(default_factory=dict)

    @cached_property
    def template(self) -> RunSpec:
        """The run of a trial, at one corner of the space."""
        return self.spec(corners(self.space)[0], self.trial_seed)

    @cached_property
    def id(self) -> str:
        """Of all that the trials depend on, but not of how many they are."""
        tree = {"run": self.template.identity(), **{name: getattr(self, name) for name in ("space", "sampler", "seed", "prune", "grace")}}
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def metric(self) -> str:
        """The task's selection metric."""
        return trials.metric_of(self.template)

    def spec(self, parameters: Mapping[str, Any], seed: int, **origin: Any) -> RunSpec:
        """The run with ``parameters``."""
        options = {**self.options, **parameters}
        found = resolve(self.task, self.method, seed=seed, budget=self.budget, overrides=options, origin=self.file, paths=self.paths)
        return replace(found, origin=origin)

    def trial(self, number: int, parameters: Mapping[str, Any]) -> RunSpec:
        """The run of trial ``number``."""
        spec = self.spec(parameters, self.trial_seed)
        rungs = {"rungs": trials.rungs(spec.config["train"], self.grace)} if self.prune == "asha" else {}
        return replace(spec, origin={"trial": {"search": self.id, "number": number, **rungs}})

    def propose(self, seen: Sequence[Seen]) -> dict[str, Any]:
        """The parameters of the trial after those ``seen``."""
        if self.sampler == "random":
            return at_random(self.space, self.seed, len(seen))
        return by_tpe(self.space, convention(self.metric).direction, self.seed, seen)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Search:
        """The search of which ``tree`` was once :func:`dataclasses.asdict`; JSON has made lists of its tuples."""
        return cls(**{**tree, "seeds": tuple(tree["seeds"]), "paths": tuple(tree["paths"])})


def parse(where: Path, given: Any, fixed: Sequence[str] = (), **run: Any) -> Search:
    """The search of a sweep's entry ``given``, for the task, method, budget, options, seeds and paths of ``run``.

    Args:
        fixed: options that the grid or the command line set.

    Raises:
        UserError: unknown words, values of the wrong kind, options that the method does not have, and what contradicts itself.
    """
    for name in given:
        if name not in WORDS:
            raise UserError(f"{where}: unknown key {name!r} in search, {nearest(str(name), WORDS)}")
    space = check_space(str(where), given.get("space"))
    for name in space:
        if "." in name and name.split(".")[0] not in ("method", "train", "base", "bases"):
            raise UserError(f"{where}: search.space.{name}: options of the method, of train, of base and bases can be searched, no others")
        if _bare(name) in map(_bare, fixed):
            raise UserError(f"{where}: {name} is searched, and set by the grid or the command line too")
    options = {name: value for name, value in run.pop("options").items() if _bare(name) not in map(_bare, space)}
    words = {name: value for name, value in given.items() if name != "space"}
    search = Search(options=options, space=space, file=str(where), **run, **words)
    _check(str(where), search)
    return search


def _bare(name: str) -> str:
    return name.removeprefix("method.")


def _check(where: str, search: Search) -> None:
    least = {"trials": 1, "seed": 0, "trial_seed": 0, "parallel": 1, "grace": 0}
    for name, low in least.items():
        value = getattr(search, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < LARGEST_SEED:
            raise UserError(f"{where}: search.{name}={value!r} is not a whole number of at least {low}, below {LARGEST_SEED:,}")
    for name, known in (("sampler", SAMPLERS), ("prune", PRUNERS)):
        if getattr(search, name) not in known:
            raise UserError(f"{where}: no search.{name} {getattr(search, name)!r}: {nearest(str(getattr(search, name)), known)}")
    if search.sampler == "tpe":
        need_optuna()
    if search.trial_seed in search.seeds:
        raise UserError(f"{where}: seed {search.trial_seed} is the trials' own: the chosen options are run on fresh seeds; set trial_seed")
    for corner in corners(search.space):
        search.spec(corner, search.trial_seed)
    if convention(search.metric).direction == "none":
        raise UserError(f"{where}: {search.task} selects by {search.metric}, of which neither more nor less is better: it has no search")
    if search.prune == "asha":
        if {"train.epochs", "train.validate_every"} & set(search.space):
            raise UserError(f"{where}: search.prune: asha compares trials at the same epochs, so that train.epochs cannot be searched")
        if not search.template.config["train"]["validate_every"]:
            raise UserError(f"{where}: search.prune: asha needs validations while a trial trains: train.validate_every of at least 1")


# --- spaces, and where the next trial's parameters come from ---------------------------------------------


def check_space(where: str, space: Any) -> dict[str, Any]:
    """``space`` with its options in the order of their names. Raises UserError for what is not a space.

    A domain is a list of values, ``{log: [low, high]}``, ``{float: [low, high]}`` or ``{int: [low, high]}``, bounds included.
    """
    if not isinstance(space, dict) or not space:
        raise UserError(f"{where}: search.space is a mapping from options to what they may be")
    for name, domain in space.items():
        if not isinstance(name, str):
            raise UserError(f"{where}: search.space: {name!r} is no option")
        kind, bounds = next(iter(domain.items())) if isinstance(domain, dict) and len(domain) == 1 else (None, domain)
        if kind is None and isinstance(domain, list) and domain:
            continue
        if kind is not None and kind not in KINDS:
            raise UserError(f"{where}: search.space.{name}: no kind {kind!r}, {nearest(str(kind), KINDS)}")
        types = int if kind == "int" else int | float
        plain = isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(x, types) and not isinstance(x, bool) for x in bounds)
        if kind is None or not plain or bounds[0] >= bounds[1] or (kind == "log" and bounds[0] <= 0):
            raise UserError(
                f"{where}: search.space.{name}={domain!r} is neither a list of values nor log, float or int: [low, high] "
                "with low < high, above 0 for log and whole for int"
            )
    return {str(name): space[name] for name in sorted(space)}


def corners(space: Space) -> list[dict[str, Any]]:
    """Points that show every value of every list and both bounds of every range."""
    columns = {}
    for name, domain in space.items():  # bounds are of the type that is drawn
        columns[name] = domain if isinstance(domain, list) else list(map(int if "int" in domain else float, _bounds(domain)))
    count = max(len(column) for column in columns.values())
    return [{name: column[min(i, len(column) - 1)] for name, column in columns.items()} for i in range(count)]


def _bounds(domain: Mapping[str, list]) -> list:
    return next(iter(domain.values()))


def at_random(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The parameters of trial ``number`` of a random search."""
    source = random.Random(f"{seed}/{number}")
    return {name: _draw(source, domain) for name, domain in space.items()}


def _draw(source: random.Random, domain: Any) -> Any:
    if isinstance(domain, list):
        return source.choice(domain)
    low, high = _bounds(domain)
    if "int" in domain:
        return source.randint(low, high)
    if "log" in domain:
        return min(max(math.exp(source.uniform(math.log(low), math.log(high))), low), high)
    return source.uniform(low, high)


def need_optuna() -> None:
    """Raises UserError where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("sampler tpe needs Optuna: pip install 'elboard[search]', or take sampler: random")


def by_tpe(space: Space, direction: str, seed: int, trials: Sequence[Seen]) -> dict[str, Any]:
    """The parameters of the trial after ``trials``, by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023).

    All trials so far are put into a new study in memory. Those that run count as bad ones, so that several at a time spread out; a trial
    that diverged, or did not fit into memory or time, is worse than any that has a value; other failures are left out.

    Args:
        direction: "higher" or "lower" is better.
    """
    need_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(domain) for name, domain in space.items()}
    sampler = optuna.samplers.TPESampler(seed=seed_of(seed, len(trials)), multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize" if direction == "higher" else "minimize", sampler=sampler)
    study.add_trials([_frozen(space, distributions, trial) for trial in trials])
    found = study.ask(distributions).params
    return {name: json.loads(found[name]) if isinstance(domain, list) else found[name] for name, domain in space.items()}


def seed_of(seed: int, number: int) -> int:
    """A seed of 32 bits for trial ``number``, so that its proposal does not depend on who made the ones before it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])


def _distribution(domain: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, list):
        return CategoricalDistribution([json.dumps(choice) for choice in domain])  # any value, and 1 apart from True
    low, high = _bounds(domain)
    return IntDistribution(low, high) if "int" in domain else FloatDistribution(low, high, log="log" in domain)


def _frozen(space: Space, distributions: Mapping[str, Any], trial: Seen) -> Any:
    from optuna.trial import TrialState, create_trial

    states = {"running": TrialState.RUNNING, "done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    state = states.get(trial.state, TrialState.PRUNED if trial.why in UNFIT else TrialState.FAIL)
    return create_trial(
        state=state,
        params={name: json.dumps(trial.parameters[name]) if isinstance(space[name], list) else trial.parameters[name] for name in space},
        distributions=distributions,
        value=trial.value if trial.state == "done" else None,
        intermediate_values={trial.epochs: trial.value} if trial.state == "pruned" and trial.value is not None else {},
    )
