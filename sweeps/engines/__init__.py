"""Where runs execute. An engine is a class with ``attached`` and either ``run`` or ``start``; plug-ins register under ``elboard.engines``.

An attached engine runs the sweep while the command waits (:meth:`Engine.run`); a detached one asks others to do it and returns
(:meth:`Engine.start`). Engines see plans and resources, never what a method or a task is.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from elboard.bench.errors import UserError, check_known
from elboard.bench.plugins import FAULTS, aside, fault, points

if TYPE_CHECKING:
    from elboard.bench.config import RunSpec
    from elboard.sweeps.plan import Plan
    from elboard.sweeps.work import Outcome

BUILT_IN = {name: f"elboard.sweeps.engines.{name}:{name.capitalize()}" for name in ("local", "slurm", "ray")}


class Engine:
    """The interface. ``how`` holds the options of the command line: jobs, profile, max_jobs, address."""

    attached = True

    def run(self, plan: Plan, how: Mapping[str, Any], force: bool, watch: Callable[[RunSpec, dict], None]) -> list[Outcome]:
        """Execute the plan's runs and return their outcomes, in order."""
        raise NotImplementedError

    def start(self, plan: Plan, how: Mapping[str, Any]) -> int:
        """Have the plan's unfinished runs executed by others, say what was asked for, and return an exit code."""
        raise NotImplementedError


def find(name: str) -> Engine:
    """The engine called ``name``, built in or of a plug-in. Raises UserError with the nearest names, or for a plug-in that is broken."""
    if name in BUILT_IN:
        return pkgutil.resolve_name(BUILT_IN[name])()
    known = {point.name: point for point in points("elboard.engines")}
    check_known("engine", name, {*BUILT_IN, *known})
    try:
        with aside():
            return known[name].load()()
    except FAULTS as error:
        raise UserError(fault(known[name], error)) from None
