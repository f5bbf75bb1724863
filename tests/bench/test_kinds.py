"""Kinds of work: what they bring, by name, and what a method offers of it."""

from __future__ import annotations

from types import ModuleType

import pytest

import elboard
from elboard.bench.errors import UserError
from elboard.bench.kinds import Catalogue, catalogue, lookup, offered
from elboard.bench.kinds import likelihood as own


def test_a_star_import_gives_the_names_for_authors() -> None:
    names: dict[str, object] = {}
    exec("from elboard import *", names)
    assert names["Method"] is elboard.Method and names["Classifier"] is elboard.Classifier
    assert not {"Path", "importlib"} & (set(names) | set(dir(elboard)))


@pytest.mark.parametrize("name", ["METRICS", "RealLikelihood", "LikelihoodSpec"])
def test_two_kinds_cannot_claim_one_name(name: str) -> None:
    mine = ModuleType("mine.kind")
    copied = type(name, (getattr(own, name),), {"__module__": mine.__name__}) if name != "METRICS" else own.METRICS[:1]
    setattr(mine, name, copied)
    found = Catalogue()
    found.add(own)
    with pytest.raises(UserError, match="is claimed by two kinds: elboard.bench.kinds.likelihood and mine.kind"):
        found.add(mine)


def test_names_of_kinds() -> None:
    assert elboard.RealLikelihood is lookup("protocols", "RealLikelihood") is own.RealLikelihood
    assert elboard.LikelihoodSpec is lookup("specs", "LikelihoodSpec") and lookup("metrics", "elbo").direction == "higher"
    assert {"Classifier", "ClassSpec", "DataSpec"} <= set(dir(elboard)) and lookup("metrics", "absent") is None
    assert catalogue(plugins=False).metrics.keys() <= catalogue().metrics.keys()
    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        elboard.Clasifier  # noqa: B018
    assert offered([("elboard", "Classifier"), ("somewhere", "Generator")]) == ("Classifier", "Predictor")
