"""Searches over a method's options, as sweep files state them: what is fixed, what is searched, and how. Never imports torch.

What becomes of a search is in :mod:`elboard.sweeps.frontier`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError, nearest
from elboard.bench.metrics.conventions import convention
from elboard.sweeps import samplers, trials
from elboard.sweeps.work import Words

WORDS = ("sampler", "trials", "space", "seed", "trial_seed", "parallel", "prune", "grace")
PRUNERS = ("asha", "none")


@dataclass(frozen=True)
class Search:
    """One search: a method on a task, with all options but those of ``space`` fixed.

    Attributes:
        options: overrides that all its runs share, as in :func:`elboard.bench.config.resolve`.
        space: domains by option, see :func:`elboard.sweeps.samplers.check`.
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
        return self.spec(samplers.corners(self.space)[0], self.trial_seed)

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

    def propose(self, seen: Sequence[samplers.Seen]) -> dict[str, Any]:
        """The parameters of the trial after those ``seen``."""
        if self.sampler == "random":
            return samplers.at_random(self.space, self.seed, len(seen))
        return samplers.by_tpe(self.space, convention(self.metric).direction, self.seed, seen)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "seeds": list(self.seeds), "paths": list(self.paths)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Search:
        return cls(**{**tree, "seeds": tuple(tree["seeds"]), "paths": tuple(tree["paths"])})


def parse(where: Path, given: Any, fixed: Sequence[str] = (), **run: Any) -> Search:
    """The search of a sweep's entry ``given``, for the task, method, budget, options, seeds and paths of ``run``.

    Args:
        fixed: options that the grid or the command line set.

    Raises:
        UserError: unknown words, values of the wrong kind, options that the method does not have, and what contradicts itself.
    """
    if not isinstance(given, dict):
        raise UserError(f"{where}: `search` is a mapping with {', '.join(WORDS)}")
    for name in given:
        if name not in WORDS:
            raise UserError(f"{where}: unknown key {name!r} in search, {nearest(str(name), WORDS)}")
    space = samplers.check(str(where), given.get("space"))
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
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise UserError(f"{where}: search.{name}={value!r} is not a whole number of at least {low}")
    for name, known in (("sampler", samplers.SAMPLERS), ("prune", PRUNERS)):
        if getattr(search, name) not in known:
            raise UserError(f"{where}: no search.{name} {getattr(search, name)!r}: {nearest(str(getattr(search, name)), known)}")
    if search.sampler == "tpe":
        samplers.need_optuna()
    if search.trial_seed in search.seeds:
        raise UserError(f"{where}: seed {search.trial_seed} is the trials' own: the chosen options are run on fresh seeds; set trial_seed")
    for corner in samplers.corners(search.space):
        search.spec(corner, search.trial_seed)
    if convention(search.metric).direction == "none":
        raise UserError(f"{where}: {search.task} selects by {search.metric}, of which neither more nor less is better: it has no search")
    if search.prune == "asha":
        if {"train.epochs", "train.validate_every"} & set(search.space):
            raise UserError(f"{where}: search.prune: asha compares trials at the same epochs, so that train.epochs cannot be searched")
        if not search.template.config["train"]["validate_every"]:
            raise UserError(f"{where}: search.prune: asha needs validations while a trial trains: train.validate_every of at least 1")
