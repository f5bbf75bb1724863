"""Budget full would run on its machines: each method with the options and networks of full, on few examples, in mixed precision and in two
processes. Networks are as large as there; data are those of the smoke budget, of which some steps are taken and a batch is evaluated."""

from __future__ import annotations

import full
import pytest

from elboard.bench import check
from elboard.bench.errors import UserError
from elboard.bench.registry import discover

CASES = full.cases()
WIDE, FEWER = 100, 4  # filters from which on an image takes seconds of a core, of which fewer are enough then


@pytest.fixture
def fewer(case: full.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if dict(case.set).get("width", 0) > WIDE:
        monkeypatch.setattr(check, "FEW", FEWER)


def of_tasks(cases: list[full.Case]) -> list:
    """Parameters of tests: those of a family go to one worker, which reads its data once."""
    return [pytest.param(case, id=str(case), marks=pytest.mark.xdist_group(case.task.split("/")[0])) for case in cases]


def test_each_method_is_there() -> None:
    assert {case.method for case in CASES} == {method for of, method in full.compatible()}


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("case", of_tasks([case for case in CASES if case.set or full.structure(case.task, case.method)]))
def test_a_step_and_an_evaluation_with_the_options_of_full(case: full.Case) -> None:
    """Of those whose options or networks are others than at smoke, where :mod:`test_pairs` has the rest."""
    assert check.light(full.specification(case))


def of_kinds(cases: list[full.Case]) -> list[full.Case]:
    """One case of those of a family and a method that differ in numbers alone: precision is a matter of what is done, not how often."""
    words = [tuple((name, value) for name, value in case.set if isinstance(value, bool | str)) for case in cases]
    return list({(case.task.split("/")[0], case.method, said): case for case, said in reversed([*zip(cases, words, strict=True)])}.values())


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("case", of_tasks(of_kinds(CASES)))
def test_a_step_in_mixed_precision(case: full.Case) -> None:
    """Raises nothing but what a method says in words, and gives finite metrics."""
    try:
        assert check.light(full.specification(case, precision="bf16-mixed"))
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return full.together([full.Case(entry.card.home, name) for name, entry in discover("method").items()], tmp_path_factory.mktemp("two"))


@pytest.mark.slow
@pytest.mark.xdist_group("two processes")
@pytest.mark.parametrize("method", sorted(discover("method")))
def test_two_processes_have_the_same_weights(method: str, said: dict[str, list[str]]) -> None:
    """After two steps, of which the second one fails where a parameter had no gradient in the first."""
    first, second = said[str(full.Case(discover("method")[method].card.home, method))]
    if first.startswith("UserError"):
        pytest.skip(first)
    assert first == second and " " not in first, (first, second)
