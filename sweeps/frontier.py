"""What has become of searches, and what they have to run next. Never imports torch.

Trials are runs like others, the choice is made on validation data, and the chosen options are then run on fresh seeds. No process leads a
search and none keeps its state: the trials' parameters are files (:mod:`elboard.sweeps.trials`), their results the records of their runs.
Whoever has room for a run looks at them, makes the next trials under the search's claim, and runs what is open; a process that dies loses
nothing but its attempt.
"""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import convention
from elboard.bench.record import Record
from elboard.bench.runs import Runs
from elboard.sweeps import claims, trials
from elboard.sweeps.search import Search, Seen
from elboard.sweeps.work import Outcome, Resources, needs


@dataclass(kw_only=True)
class Trial(Seen):
    """A trial of a search, and its run; trials with equal parameters share the run of the first of them."""

    number: int
    spec: RunSpec
    key: str
    wall_s: float = 0.0


@dataclass(eq=False)
class History:
    """The trials of a search by the shared folder, as of the last :meth:`look`; those that are over are not read again."""

    search: Search
    runs: Runs
    trials: list[Trial] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return trials.folder_of(self.runs.root, self.search.id)

    def look(self) -> History:
        for trial in self.trials:
            if trial.state == "running":
                self._settle(trial)
        self._load()
        return self

    def _load(self) -> None:
        """Take in trials that are new."""
        while (number := len(self.trials)) < self.search.trials:
            tree = trials.read(self.folder / f"trial-{number}.json")
            if tree is None:
                return
            spec = self.search.trial(number, tree["parameters"])
            key = spec.key
            same = next((trial.spec for trial in self.trials if trial.key == key), spec)
            self.trials.append(Trial(parameters=tree["parameters"], number=number, spec=same, key=key))
            self._settle(self.trials[-1])

    def _settle(self, trial: Trial) -> None:
        """Find out whether ``trial`` is over. What is pruned stays so, even if a run of the same key is completed for another purpose."""
        pruned = trials.read(self.folder / f"pruned-{trial.spec.origin['trial']['number']}.json")
        if pruned is not None:
            trial.state, trial.value, trial.epochs, trial.wall_s = "pruned", pruned["value"], pruned["epoch"] + 1, pruned["wall_s"]
            return
        record = self.runs.over(trial.spec)
        if record is None:
            return
        trial.wall_s = sum(map(_seconds, self.runs.attempts(trial.spec)))
        selection = record.notes.get("selection", {})
        value = selection.get("value")
        if record.status == "failed":
            trial.state, trial.why = "failed", record.failure["class"]
        elif isinstance(value, int | float) and math.isfinite(value):
            trial.state, trial.value = "done", float(value)
        else:
            trial.state, trial.why = "failed", "nan" if selection else "bug"

    def extend(self) -> None:
        """Make the next trials, as many as may be open, unless another process is at it. Raises OSError."""
        if not self._room():
            return
        claim = claims.take(self.folder, owner="search")
        if claim is None:
            return
        with claims.heartbeat(claim):
            self.look()
            while self._room():
                number = len(self.trials)
                parameters = self.search.propose(self.trials)
                tree = {"number": number, "parameters": parameters, "key": self.search.trial(number, parameters).key}
                if not trials.write_once(self.folder / f"trial-{number}.json", tree):
                    return  # the claim was lost to a process that took this one for dead
                self._load()

    def _room(self) -> int:
        """How many trials can be added now."""
        limit = self.search.parallel if self.search.sampler == "tpe" else self.search.trials
        return max(0, min(limit - len(self.open()), self.search.trials - len(self.trials)))

    def open(self) -> list[RunSpec]:
        """The runs of trials that are not over."""
        return list({trial.key: trial.spec for trial in self.trials if trial.state == "running"}.values())

    @property
    def over(self) -> bool:
        return len(self.trials) == self.search.trials and not self.open()

    def best(self) -> Trial | None:
        """The completed trial with the best value, the first of equal ones; None where there is none."""
        pick = max if convention(self.search.metric).direction == "higher" else min
        return pick((trial for trial in self.trials if trial.state == "done"), key=lambda trial: trial.value, default=None)

    @property
    def ended(self) -> int:
        """How many trials are over."""
        return sum(trial.state != "running" for trial in self.trials)

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)

    @property
    def wall_s(self) -> float:
        """Seconds that the trials took, those that failed or were pruned too; a run is counted once."""
        return round(sum({trial.key: trial.wall_s for trial in self.trials}.values()), 3)

    def final(self) -> list[RunSpec]:
        """The runs with the chosen options, once all trials are over; their records will say how the options were chosen."""
        best = self.best() if self.over else None
        if best is None:
            return []
        search = self.search
        said = {name: getattr(search, name) for name in ("id", "sampler", "seed", "trial_seed", "trials", "prune", "space", "metric")}
        said |= {state: self.count(state) for state in ("done", "pruned", "failed")}
        said |= {"parameters": best.parameters, "number": best.number, "value": best.value, "wall_s": self.wall_s}
        return [search.spec(best.parameters, seed, search=said) for seed in search.seeds]

    def unnamed(self) -> list[RunSpec]:
        """Chosen runs that had been run before the search chose them, whose records do not name it: boards and claims cannot know of it."""
        found = ((spec, self.runs.done(spec)) for spec in self.final())
        return [spec for spec, record in found if record is not None and record.notes.get("search", {}).get("id") != self.search.id]

    def unfinished(self) -> list[RunSpec]:
        """The runs that could go on now; for trials that are not made yet, runs like theirs."""
        if self.over:
            return [spec for spec in self.final() if self.runs.over(spec) is None]
        return self.open() + [self.search.template] * self._room()

    def left(self) -> list[RunSpec]:
        """All runs that are still to come; for those that are not known yet, runs like them."""
        return self.unfinished() if self.over else self.open() + [self.search.template] * self.unknown

    @property
    def unknown(self) -> int:
        """How many runs are to come of which it is not known yet what they are."""
        return 0 if self.over else self.search.trials - len(self.trials) + len(self.search.seeds)

    def forgivable(self) -> dict[str, list[str]]:
        """Failed attempts, by key, that are no reason not to try again: of the final runs, and of trials while there is no choice.

        That a configuration diverges is a result, and stands.
        """
        specs = self.final() or [trial.spec for trial in self.trials if trial.why != "nan"]
        return self.runs.failures(one for spec in specs for one in (*spec.starts_from(), spec))

    def choice(self) -> str:
        """The best options so far and their value; empty where no trial is completed."""
        best = self.best()
        if best is None:
            return ""
        shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in best.parameters.items()}
        chosen = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"{chosen} with {self.search.metric} {best.value:.4g}"

    def __str__(self) -> str:
        """``vae on density/digits: 20 of 20 trials (17 done, 2 pruned, 1 failed) in 12.3 s: lr=0.01 with elbo -21.3``."""
        search = self.search
        states = ", ".join(f"{self.count(state)} {state}" for state in ("done", "pruned", "failed", "running") if self.count(state))
        text = f"{search.method} on {search.task}: {self.ended} of {search.trials} trials" + (f" ({states})" if states else "")
        choice = self.choice() or ("none was completed" if self.over else "")
        before = len(self.unnamed())
        unnamed = f"; {before} of its runs had been run before and do not name it: claims find it after --force" if before else ""
        return f"{text} in {self.wall_s:.1f} s" + (f": {choice}" if choice else "") + unnamed


class Frontier:
    """What searches have to run, for engines, which call it whenever they have room.

    Args:
        resources: what runs need, by key; those of the searches' runs are added as they become known.
    """

    def __init__(self, searches: Sequence[Search], runs: Runs, resources: dict[str, Resources]):
        self.histories, self.resources = [History(search, runs) for search in searches], resources
        self.failed: list[History] = []  # over without a completed trial, or given up by this process

    def __call__(self, outcomes: Mapping[str, Outcome]) -> list[RunSpec] | None:
        """The runs that can go on now, in the order in which to start them: runs that trials start from, trials, and final runs.

        Trials are named again until they are over, so that one that was lost is taken up again; final runs are named once. None: nothing is
        left to name.

        Args:
            outcomes: how runs ended in this process, by key. A trial that fails without a record, as where its folder cannot be written,
                ends the search for this process.

        Raises:
            UserError: the search's folder cannot be written.
        """
        if not self.histories:
            return None
        found: dict[str, RunSpec] = {}
        for history in list(self.histories):
            try:
                history.look().extend()
            except OSError as error:
                raise UserError(f"{history.folder}: cannot be written ({error.strerror or error})") from None
            runs = history.final() if history.over else history.open()
            ended = [outcomes[spec.key] for spec in runs if spec.key in outcomes and not history.over]
            lost = any(outcome.state == "failed" and outcome.record is None for outcome in ended)
            if history.over or lost:
                self.histories.remove(history)
            if lost or (history.over and not runs):
                self.failed.append(history)
                continue
            found |= {spec.key: spec for spec in self._with_bases(history, runs)}
        return list(found.values())

    def _with_bases(self, history: History, runs: Sequence[RunSpec]) -> Iterator[RunSpec]:
        for spec in runs:
            bases = spec.starts_from()
            yield from (base for base in bases if history.runs.over(base) is None)
            yield spec
            for key, need in needs(history.search.resources, (spec, *bases)).items():
                self.resources.setdefault(key, need)


def _seconds(record: Record) -> float:
    """Of an attempt; a failed one has its times alone."""
    if "wall_s" in record.cost:
        return record.cost["wall_s"]
    with contextlib.suppress(ValueError):
        return (datetime.datetime.fromisoformat(record.ended) - datetime.datetime.fromisoformat(record.started)).total_seconds()
    return 0.0
