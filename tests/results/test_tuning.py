"""How options were found, in words, and what unequal searches leave of a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.results.tuning import Tuning, judged, recipe_of, tuning_of

SEARCHED = {"trials": 36, "on": "links/cora@1", "by": "auc", "options": ("lr", "hidden"), "rest": "library"}
RECIPES = {
    "few": {"set": {"lr": 0.5}, "trials": 3, "on": "links/cora", "by": "auc"},
    "few-wide": {"set": {"lr": 0.5, "hidden": 64}},
}


def card(**more: Any) -> MethodCard:
    return MethodCard(name="m", title="", family="", **more)


BOTH, LEFT, RIGHT, NEITHER = (8, 8), (8, 0), (0, 8), (0, 0)


@pytest.mark.parametrize(
    ("status", "trials", "then"),
    [
        *((status, trials, status) for status in ("holds", "refuted", "undecided", "not run") for trials in (BOTH, NEITHER)),
        ("holds", LEFT, "undecided"),
        ("holds", RIGHT, "holds"),
        ("refuted", LEFT, "refuted"),
        ("refuted", RIGHT, "undecided"),
        ("holds", (36, 8), "undecided"),  # both searched, one more
        ("holds", (8, 36), "holds"),
        ("undecided", LEFT, "undecided"),
        ("not run", RIGHT, "not run"),
    ],
)
def test_left_is_better(status: str, trials: tuple[int, int], then: str) -> None:
    """The same whichever way the metric points, so long as the claim says that the left side is the better one."""
    assert judged(status, "higher", "auc", 0.1, trials)[0] == then
    assert judged(status, "lower", "nll", -0.1, trials)[0] == then


@pytest.mark.parametrize(
    ("status", "trials", "then"), [("holds", LEFT, "holds"), ("holds", RIGHT, "undecided"), ("refuted", LEFT, "undecided")]
)
def test_left_is_worse(status: str, trials: tuple[int, int], then: str) -> None:
    assert judged(status, "lower", "auc", 0.1, trials)[0] == then


@pytest.mark.parametrize(
    ("status", "effect", "trials", "then"),
    [
        ("holds", 0.0, BOTH, "holds"),
        ("holds", 0.0, LEFT, "undecided"),  # without its search the left side might be worse
        ("holds", 0.0, RIGHT, "undecided"),
        ("refuted", 0.2, LEFT, "undecided"),
        ("refuted", 0.2, RIGHT, "refuted"),  # the right side is worse although it was searched
        ("refuted", -0.2, LEFT, "refuted"),
        ("refuted", -0.2, RIGHT, "undecided"),
    ],
)
def test_equal(status: str, effect: float, trials: tuple[int, int], then: str) -> None:
    assert judged(status, "equal", "auc", effect, trials)[0] == then


def test_a_metric_without_direction_leaves_nothing_to_argue() -> None:
    assert judged("holds", "higher", "kl", 1.0, RIGHT)[0] == judged("refuted", "higher", "kl", -1.0, LEFT)[0] == "undecided"


def test_what_is_said() -> None:
    assert judged("holds", "higher", "auc", 0.1, NEITHER) == ("holds", "")
    assert judged("refuted", "higher", "auc", -0.1, (0, 36))[1] == "unequal tuning (none against 36 trials) may be why it is refuted"
    assert judged("holds", "higher", "auc", 0.1, (0, 5))[1] == "unequal tuning (none against 5 trials) cannot explain it"
    assert judged("holds", "higher", "auc", 0.1, (36, 5), "of one option alone") == (
        "holds",
        "unequal tuning (36 trials against 5 trials): of one option alone",
    )


@pytest.mark.parametrize(
    ("more", "task", "given", "search", "found"),
    [
        ({"defaults": "paper"}, "links/cora", {}, None, Tuning("paper")),
        ({}, "links/cora", {}, None, Tuning("not said")),
        ({"defaults": "paper"}, "links/cora", {"lr": 1.0}, None, Tuning("as set")),
        ({"defaults": SEARCHED}, "links/cora", {}, None, Tuning("defaults of 36 trials on version 1", 36)),
        ({"defaults": SEARCHED}, "links/citeseer", {}, None, Tuning("defaults of 36 trials on links/cora@1")),
        ({"defaults": SEARCHED}, "links/cora", {"lr": 1.0}, None, Tuning("as set, defaults of 36 trials on version 1", 36)),
        ({"defaults": SEARCHED}, "links/cora", {"lr": 1.0, "method.hidden": 1}, None, Tuning("as set")),
        (
            {"defaults": SEARCHED},
            "links/cora",
            {},
            {"trials": 8, "space": {"lr": [1], "method.hidden": [2]}},
            Tuning("search of 8 trials", 8),
        ),
        (
            {"defaults": SEARCHED},
            "links/cora",
            {"lr": 0.1},
            {"trials": 8, "space": {"lr": [1]}, "wall_s": 1800.0},
            Tuning("search of 8 trials in 0.5 h, defaults of 36 trials on version 1", 44),
        ),
        (
            {"defaults": "paper"},
            "links/cora",
            {"train.epochs": 3, "lr": 1},
            {"trials": 8, "space": {"lr": [1]}},
            Tuning("search of 8 trials, as set", 8),
        ),
        ({"defaults": "paper", "recipes": RECIPES}, "links/cora", {"lr": 0.5}, None, Tuning("recipe few of 3 trials", 3)),
        ({"defaults": "paper", "recipes": RECIPES}, "links/citeseer", {"lr": 0.5}, None, Tuning("recipe few of 3 trials on links/cora")),
        ({"defaults": "paper", "recipes": RECIPES}, "links/cora", {"lr": 0.5, "hidden": 64}, None, Tuning("recipe few-wide")),
        (
            {"defaults": "paper", "recipes": RECIPES},
            "links/cora",
            {"lr": 0.5, "hidden": 3},
            None,
            Tuning("recipe few of 3 trials, as set", 3),
        ),
        (
            {"defaults": SEARCHED, "recipes": RECIPES},
            "links/cora",
            {"lr": 0.4},
            None,
            Tuning("as set, defaults of 36 trials on version 1", 36),
        ),
    ],
)
def test_how_options_were_found(more: dict, task: str, given: dict, search: dict | None, found: Tuning) -> None:
    assert tuning_of(card(**more), task, given, search) == found


def test_of_a_method_that_is_not_here() -> None:
    assert tuning_of(None, "links/cora", {}) == Tuning("not known")
    assert tuning_of(None, "links/cora", {"lr": 1}, {"trials": 8, "space": {"lr": [1]}}) == Tuning("search of 8 trials", 8)
    assert recipe_of(None, {"lr": 0.5}) == ""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"defaults": "papr"}, "defaults='papr': did you mean 'paper'"),
        ({"defaults": {**SEARCHED, "trails": 3}}, "defaults: unknown word 'trails': did you mean 'trials'"),
        ({"defaults": {"trials": 3, "by": "auc", "options": ("lr",)}}, "defaults: a search has on too"),
        ({"defaults": {**SEARCHED, "trials": 0}}, "trials=0 is not a whole number"),
        ({"defaults": {**SEARCHED, "rest": "guess"}}, "rest='guess'"),
        ({"recipes": {"few": {"lr": 0.5}}}, "recipes: few: unknown word 'lr'"),
        ({"defaults": {**SEARCHED, "options": "lr"}}, "options='lr' is not a list of options"),
        ({"defaults": {**SEARCHED, "on": 3}}, "defaults: on=3 is not a text"),
        ({"defaults": {**SEARCHED, "trials": True}}, "trials=True is not a whole number"),
        ({"recipes": {"few": {"trials": 2}}}, "recipes: few: `set` is a mapping"),
        ({"recipes": {"few": {"set": {"lr": 0.5}, "trials": 2}}}, "recipes: few: with trials it has by, on too"),
        ({"recipes": ["few"]}, "is not a mapping from names to recipes"),
    ],
)
def test_cards_that_cannot_be_computed_with(more: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        card(**more)


def test_recipes_by_name() -> None:
    of = card(recipes=RECIPES)
    assert of.recipe("few-wide") == {"lr": 0.5, "hidden": 64}
    with pytest.raises(UserError, match="m has no recipe 'fev': did you mean 'few'"):
        of.recipe("fev")
    with pytest.raises(UserError, match="m has no recipe 'few': it has none"):
        card().recipe("few")


def test_in_words() -> None:
    assert card(defaults="library").found == "those of the authors' package, or of one in wide use"
    assert card(defaults=SEARCHED).found == (
        "lr, hidden: the best of 36 on links/cora@1 by validation auc; the others: those of the authors' package, or of one in wide use"
    )
