"""Spaces of options, and where the next trial's parameters come from. Never imports torch; Optuna only for TPE.

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
from dataclasses import dataclass
from typing import Any

from elboard.bench.errors import UserError, nearest

KINDS = ("log", "float", "int")
SAMPLERS = ("tpe", "random")
UNFIT = ("nan", "oom", "timeout")  # failures that the parameters are to blame for

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


def check(where: str, space: Any) -> dict[str, Any]:
    """``space`` with its options in the order of their names. Raises UserError for what is not a space.

    A domain is a list of values, ``{log: [low, high]}``, ``{float: [low, high]}`` or ``{int: [low, high]}``, bounds included.
    """
    if not isinstance(space, dict) or not space:
        raise UserError(f"{where}: search.space is a mapping from options to what they may be")
    for name, domain in space.items():
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
    columns = {name: domain if isinstance(domain, list) else _ends(domain) for name, domain in space.items()}
    count = max(len(column) for column in columns.values())
    return [{name: column[min(i, len(column) - 1)] for name, column in columns.items()} for i in range(count)]


def _bounds(domain: Mapping[str, list]) -> list:
    return next(iter(domain.values()))


def _ends(domain: Mapping[str, list]) -> list:
    """The bounds, of the type that is drawn."""
    return [int(bound) if "int" in domain else float(bound) for bound in _bounds(domain)]


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
