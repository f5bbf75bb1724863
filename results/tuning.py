"""How the options of a configuration were found, and what unequal searches mean for a verdict.

Options are found by their authors, or by comparing settings on validation data: in a search of a sweep, in one that a card tells of (its
defaults, a recipe), each with a number of trials. Between two sides whose trials *on the data of the comparison* are not as many, a
difference may be that of the searches. More trials can only help the side that has them, so that a verdict against that side stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elboard.bench.card import MethodCard
from elboard.bench.metrics.conventions import convention


@dataclass(frozen=True)
class Tuning:
    """How options were found, in a few words, and of how many settings they are the best on the task at hand."""

    words: str
    trials: int = 0


def tuning_of(card: MethodCard | None, task: str, given: Mapping[str, Any], search: Mapping[str, Any] | None = None) -> Tuning:
    """Of a method with the options ``given``, the others at their defaults, on ``task``.

    Args:
        card: of the version that ran; None where it is not here.
        given: by the names of the command line; those that ``search`` chose may be among them.
        search: the words of a search and, of one that was run, ``wall_s``, the seconds of its trials.
    """
    given = {name.removeprefix("method."): value for name, value in given.items()}
    words, trials, left = [], 0, given
    if search:
        cost = f" in {search['wall_s'] / 3600:.2g} h" if "wall_s" in search else ""
        trials = search.get("trials", 0)
        words = [f"search of {trials or '?'} trials{cost}"]
        searched = {name.removeprefix("method."): None for name in search.get("space", {})}
        given, left = {**searched, **given}, {name: value for name, value in left.items() if name not in searched}
    name = recipe_of(card, left)
    if name:
        recipe = card.recipes[name]
        words.append(f"recipe {name}" + (_trials(recipe, task) if "trials" in recipe else ""))
        trials += recipe["trials"] if "trials" in recipe and _same(recipe["on"], task) else 0
        left = {option: value for option, value in left.items() if option not in recipe["set"]}
    if left:
        words.append("as set")
    found = card.searched if card else None
    if found and not {*found.options} <= {*given}:
        words.append("defaults" + _trials({"trials": found.trials, "on": found.on}, task))
        trials += found.trials if _same(found.on, task) else 0
    elif not words:
        words.append("not known" if card is None else found.rest if found else card.defaults)
    return Tuning(", ".join(words) or "not said", trials)


def recipe_of(card: MethodCard | None, given: Mapping[str, Any]) -> str:
    """The recipe of ``card`` that the options ``given`` follow, the one with the most options; empty where they follow none."""
    follows = {name: recipe["set"] for name, recipe in (card.recipes if card else {}).items() if recipe["set"].items() <= given.items()}
    return max(follows, key=lambda name: len(follows[name]), default="")


def _trials(of: Mapping[str, Any], task: str) -> str:
    name, _, version = of["on"].partition("@")
    where = f" on {of['on']}" if name != task else f" on version {version}" if version else ""
    return f" of {of['trials']} trials{where}"


def _same(on: str, task: str) -> bool:
    """Whether a search ``on`` a task, perhaps of another version, saw the data of ``task``."""
    return on.partition("@")[0] == task


def judged(status: str, relation: str, metric: str, effect: float | None, trials: tuple[int, int], why: str = "") -> tuple[str, str]:
    """The verdict ``status`` on ``left relation right`` where the sides' options were the best of ``trials`` settings, and a note.

    ``undecided`` where more trials of one side could have made the verdict, unless the check says ``why`` they favour neither. ``effect``
    is left - right in the metric's unit.
    """
    left, right = trials
    if status not in ("holds", "refuted") or left == right:
        return status, ""
    said = " against ".join(f"{n} trials" if n else "none" for n in trials)
    if why:
        return status, f"unequal tuning ({said}): {why}"
    if not _may_explain(status, relation, metric, effect, left > right):
        return status, f"unequal tuning ({said}) cannot explain it"
    return "undecided", f"unequal tuning ({said}) may be why it {'holds' if status == 'holds' else 'is refuted'}"


def _may_explain(status: str, relation: str, metric: str, effect: float, left_tuned: bool) -> bool:
    """Whether that the left side, else the right one, was tuned more may have made the verdict."""
    direction = convention(metric).direction
    if direction == "none" or relation == "equal" and status == "holds":
        return True
    if relation == "equal":
        return left_tuned == ((effect > 0) == (direction == "higher"))
    return left_tuned == ((relation == direction) == (status == "holds"))
