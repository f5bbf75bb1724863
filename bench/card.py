"""Cards: what a method or a task is, as literals that can be read without importing its code."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elboard.bench.errors import UserError, nearest
from elboard.bench.plain import WORD

FOUND = {
    "paper": "those of the paper",
    "library": "those of the authors' package, or of one in wide use",
    "convention": "what is usual, or what the family shares; not searched",
    "none": "there are no options",
    "": "not said",
}
SEARCHED = ("trials", "on", "by", "options", "rest")
RECIPE = ("set", "trials", "on", "by")


@dataclass(frozen=True)
class Searched:
    """How defaults were found that are the best of several settings.

    Attributes:
        trials: settings that were tried.
        on: the task whose validation data judged them, with its version where that is not the present one (``"family/data@1"``).
        by: the metric that judged.
        options: those that were searched. rest: how the others were found, a word of :data:`FOUND`.
    """

    trials: int
    on: str
    by: str
    options: tuple[str, ...]
    rest: str = ""

    @property
    def task(self) -> str:
        """``on`` without a version."""
        return self.on.partition("@")[0]

    def __str__(self) -> str:
        rest = f"; the others: {FOUND[self.rest]}" if self.rest else ""
        return f"{', '.join(self.options)}: the best of {self.trials} on {self.on} by validation {self.by}{rest}"


@dataclass(frozen=True)
class MethodCard:
    """The static description of a method; written as ``CARD = MethodCard(...)`` with literals only.

    Attributes:
        name: unique name, the one used on the command line (``"mult-vae"``).
        title: what it is, in a few words.
        family: folder under ``methods/`` and group on the boards.
        home: the task on whose board it is compared first of all, and on which tests run it whole.
        aliases: further names that find it, of what is the same method elsewhere.
        requires: what it cannot run without beyond our own dependencies: names of modules to import, or "gpu".
        offers: the protocols (:mod:`elboard.bench.kinds`) among the base classes of its class: read from there, never written.
        paper: number of the paper in ``elboard list papers`` (``"021"``); empty for a classical baseline.
        cite: authors and year.
        bases: the finished runs that it starts from, by role: ``{"classifier": {"method": "softmax"}}``. A role names the ``method``, and
            where they are not the run's own the ``task`` (or one for each of its own tasks, ``{"samples/mnist": "generation/mnist"}``), the
            ``budget``, the ``seed`` (a fixed one) and options (``set``); ``count``, a
            number or the name of an option, makes it a list of runs with seeds of their own, as the members of an ensemble.
        splits: its loss is the mean of terms of single examples, plus what no batch changes, so that after an attempt that ran out of
            memory the next may compute it in parts (:func:`elboard.bench.method.in_parts`).
        defaults: how its defaults were found: a word of :data:`FOUND`, or of a search the fields of :class:`Searched` as a dict.
        recipes: named sets of options for data unlike those that the defaults were found on: ``set``, of how many ``trials`` they were the
            best, ``on`` which task, ``by`` which metric; without trials they are somebody's advice, which the docstring names.
        oracle: what of the test data the task hands it, in a few words: it is an oracle and no method: boards mark it and never rank it.
        version: raised whenever the same configuration gives other results; part of a run's key.
    """

    name: str
    title: str
    family: str
    home: str = ""
    paper: str = ""
    cite: str = ""
    bases: dict = field(default_factory=dict, hash=False)
    splits: bool = False
    defaults: str | dict = field(default="", hash=False)
    recipes: dict = field(default_factory=dict, hash=False)
    oracle: str = ""
    version: int = 1
    aliases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises UserError for names that no record may have, and for ``bases``, ``defaults`` and ``recipes`` that nothing can be computed
        with."""
        _check_names(self, 1)
        if not isinstance(self.bases, Mapping) or not all(isinstance(of, Mapping) and "method" in of for of in self.bases.values()):
            raise UserError(f"bases={self.bases!r:.80} is not a mapping from roles to mappings that name a `method`")
        if not isinstance(self.recipes, Mapping):
            raise UserError(f"recipes={self.recipes!r} is not a mapping from names to recipes")
        for name, recipe in self.recipes.items():
            _check_trials(f"recipes: {name}", recipe, RECIPE)
            if not isinstance(recipe.get("set"), Mapping) or not recipe["set"]:
                raise UserError(f"recipes: {name}: `set` is a mapping from options to values")
            if missing := {"on", "by"} - {*recipe} if "trials" in recipe else ():
                raise UserError(f"recipes: {name}: with trials it has {', '.join(sorted(missing))} too")
        if isinstance(self.defaults, str):
            if self.defaults not in FOUND:
                raise UserError(f"defaults={self.defaults!r}: {nearest(self.defaults, list(filter(None, FOUND)))}, or the dict of a search")
            return
        _check_trials("defaults", self.defaults, SEARCHED)
        if missing := {*SEARCHED[:4]} - {*self.defaults}:
            raise UserError(f"defaults: a search has {', '.join(sorted(missing))} too")
        options = self.defaults["options"]
        if not isinstance(options, list | tuple) or not options or not all(isinstance(name, str) for name in options):
            raise UserError(f"defaults: options={options!r} is not a list of options")

    @property
    def searched(self) -> Searched | None:
        """The search that found the defaults; None where there was none."""
        return None if isinstance(self.defaults, str) else Searched(**self.defaults)

    @property
    def found(self) -> str:
        """How the defaults were found, in words."""
        return FOUND[self.defaults] if isinstance(self.defaults, str) else str(self.searched)

    def recipe(self, name: str) -> dict[str, Any]:
        """The options of a recipe. Raises UserError with the nearest name."""
        if name not in self.recipes:
            there = nearest(name, list(self.recipes)) if self.recipes else "it has none"
            raise UserError(f"{self.name} has no recipe {name!r}: {there}")
        return dict(self.recipes[name]["set"])


def _check_names(card: MethodCard | TaskCard, parts: int) -> None:
    for name in (card.name, *card.aliases):
        if not isinstance(name, str) or name.count("/") != parts - 1 or not all(map(WORD.fullmatch, name.split("/"))):
            form = "a name" if parts == 1 else "of the form family/data"
            raise UserError(f"name {name!r:.80} is not {form}: letters, digits, '.', '_' and '-', at most 64, a letter or digit first")


def _check_trials(where: str, given: Any, words: tuple[str, ...]) -> None:
    """Raises UserError unless ``given`` is a dict with keys among ``words`` and with a number of trials where it has one."""
    for name in given if isinstance(given, Mapping) else (given,):
        if name not in words:
            raise UserError(f"{where}: unknown word {name!r}: {nearest(str(name), words)}")
    trials = given.get("trials", 1)
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UserError(f"{where}: trials={trials!r} is not a whole number of at least 1")
    for name in ("on", "by", "rest"):
        if not isinstance(given.get(name, ""), str):
            raise UserError(f"{where}: {name}={given[name]!r} is not a text")
    if given.get("rest", "") not in FOUND:
        raise UserError(f"{where}: rest={given['rest']!r}: {nearest(str(given['rest']), list(filter(None, FOUND)))}")


@dataclass(frozen=True)
class TaskCard:
    """The static description of a task; written as ``CARD = TaskCard(...)`` with literals only.

    Attributes:
        name: ``family/data``.
        title: what is measured, in a few words.
        needs: protocols that a method must offer, all of them.
        primary: the metric key that orders the board.
        metrics: metric keys shown on the board, the primary one among them.
        selection: the key returned by ``Task.validate`` that selects epochs and hyper-parameters.
        data: data sets of ``tasks/data/datasets.yaml`` that budgets beyond smoke read.
        varies: what differs between seeds ("seed", or "seed and split").
        requires: as of a method.
        papers: papers whose claims this task tests.
        full: what the budget full is: a paper's own data and length, or what it is instead.
        work: by budget, examples of an epoch and passes through the network that the evaluation takes at most (one for each draw of a
            prediction and each sample of a bound): what costs are extrapolated by (:mod:`elboard.results.forecast`).
        examples: by budget, of how many test examples metrics are, by the first pattern that a key without its parameters fits; empty where
            all are of the same ones or keys say it.
        aliases: further names that find it.
        version: raised whenever the protocol changes; boards never mix versions.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    primary: str
    metrics: tuple[str, ...]
    selection: str
    data: tuple[str, ...] = ()
    varies: str = "seed"
    papers: tuple[str, ...] = ()
    full: str = ""
    work: dict = field(default_factory=dict, hash=False)
    examples: dict = field(default_factory=dict, hash=False)
    version: int = 1
    aliases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises UserError for names that no record may have, and for ``work`` and ``examples`` that nothing can be computed with."""
        _check_names(self, 2)
        for budget, of in self.work.items():
            if not isinstance(of, list | tuple) or len(of) != 2 or not all(isinstance(n, int) and n > 0 for n in of):
                raise UserError(f"work: {budget}={of!r} is not (examples of an epoch, passes of the evaluation), both positive")
        for budget, of in self.examples.items():
            if not isinstance(of, Mapping) or not all(isinstance(n, int | str) for n in of.values()):
                raise UserError(f"examples: {budget}={of!r} is not a mapping from patterns of keys to numbers or words")

    @property
    def family(self) -> str:
        return self.name.split("/")[0]


def fits(method: MethodCard, task: TaskCard) -> bool:
    """Whether ``method`` can run on ``task``: it offers every protocol that the task needs, what it starts from is known for this task,
    and where the seed splits the data it starts from no runs on them with other seeds, which would have been trained on what it is tested
    on."""
    if any(need not in method.offers for need in task.needs):
        return False
    if any(task.name not in words["task"] for words in method.bases.values() if isinstance(words.get("task"), Mapping)):
        return False
    roles = [words for words in method.bases.values() if "task" not in words]
    return "split" not in task.varies or not any("count" in words or "seed" in words for words in roles)


def missing(card: MethodCard | TaskCard) -> str:
    """What ``card`` requires and this machine lacks, with what helps; empty where all is there. Imports nothing."""
    modules = [name for name in card.requires if name != "gpu" and importlib.util.find_spec(name.split(".")[0]) is None]
    if modules:
        wanted = " ".join(name.replace("_", "-") for name in modules)
        return f"{card.name} needs {', '.join(modules)}, which cannot be imported: pip install {wanted}"
    gpu = os.path.exists("/proc/driver/nvidia/version") and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
    return "" if gpu or "gpu" not in card.requires else f"{card.name} needs a GPU, and this machine shows none"
