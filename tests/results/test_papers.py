"""Papers as data: every file is valid, complete, runnable; mistakes are one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from elboard.bench.cli.papers import sweep_of
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.registry import discover
from elboard.results.papers import FOLDER, Measured, Paper, Reported, Side, index, paper, papers, read
from elboard.sweeps.plan import expand

ENTRY = {
    "n": "999",
    "slug": "x",
    "title": "T",
    "authors": "A",
    "year": 2020,
    "venue": "V",
    "kind": "method",
    "family": "vae",
    "reported": 1,
}


@pytest.fixture(scope="module")
def found() -> list[Paper]:
    return papers()


def test_every_paper_has_a_file_and_every_file_a_paper(found: list[Paper]) -> None:
    assert [item.number for item in found] == [f"{n:03d}" for n in range(1, 119)]
    assert {item.slug for item in found} == {file.stem for file in FOLDER.glob("*.yaml")}
    assert all(item.title and item.venue and item.claims for item in found)


def test_no_published_number_is_lost(found: list[Paper]) -> None:
    assert {item.number: len(item.reported) for item in found} == {entry["n"]: entry["reported"] for entry in index()}
    assert sum(len(item.reported) for item in found) == 553


def test_every_method_of_a_paper_is_in_its_claims_or_table(found: list[Paper]) -> None:
    by_number = {item.number: item for item in found}
    for entry in discover("method").values():
        if entry.card.paper:
            item = by_number[entry.card.paper]
            assert entry.card.name in {part.method for part in _parts(item)}, f"{entry.card.name}: in no claim or table of {item.slug}"


def _parts(item: Paper) -> Iterator[Measured | Side]:
    yield from (cell.measured for cell in item.cells)
    for claim in item.claims:
        if claim.check:
            yield from (side for side in (claim.check.left, claim.check.right) if side.method)


def test_checks_and_cells_exist_and_are_run(found: list[Paper]) -> None:
    """Options are valid, and ``elboard table SLUG --run`` makes the records that the table and the claims need."""
    for item in found:
        asked = {resolve(cell.measured.task, cell.measured.method, overrides=cell.measured.set).key for cell in item.cells}
        for claim in item.claims:
            if claim.check and claim.check.budget == "lite":
                sides = [side for side in (claim.check.left, claim.check.right) if side.method]
                asked |= {resolve(task, side.method, overrides=side.set).key for task in claim.check.tasks for side in sides}
        run = {
            resolve(task, method, overrides=entry["set"]).key
            for entry in item.runs.get("lite", [])
            for task in entry["tasks"]
            for method in entry["methods"]
        }
        assert asked <= run, f"{item.slug}: runs lack some that its table or claims need"
        assert run <= asked, f"{item.slug}: runs that neither its table nor its claims need"


@pytest.mark.parametrize("budget", ("lite", "full"))
def test_runs_expand_as_a_sweep(found: list[Paper], budget: str, tmp_path: Path) -> None:
    for item in found:
        if budget in item.runs:
            tree = sweep_of(item, budget)
            file = tmp_path / f"{item.slug}.yaml"
            file.write_text(yaml.safe_dump(tree))
            sweep = expand(file)
            assert sweep.name == f"table-{item.slug}" and {spec.budget for spec in sweep.runs} == {budget}
            assert len(sweep.runs) >= len(tree["runs"])


def test_what_is_done_is_left_out() -> None:
    vgae = paper("vgae")
    done = {resolve("links/cora", "gae", seed=seed).key for seed in range(9)}
    (entry,) = [run for run in sweep_of(vgae, "lite", done)["runs"] if run["tasks"] == ["links/cora"] and run["methods"] == ["gae"]]
    assert entry["seeds"] == [9]
    done.add(resolve("links/cora", "gae", seed=9).key)
    assert not [run for run in sweep_of(vgae, "lite", done)["runs"] if run["tasks"] == ["links/cora"] and run["methods"] == ["gae"]]
    with pytest.raises(UserError, match="mult-vae has no runs at full: it has some at lite"):
        sweep_of(paper("mult-vae"), "full")


def test_papers_are_found_by_slug_and_number() -> None:
    assert paper("21").slug == paper("021").slug == paper("iwae").slug == "iwae"
    with pytest.raises(UserError, match="no paper 'iwea': did you mean 'iwae'"):
        paper("iwea")


def _reported(value: Any, confidence: str = "seen") -> Reported:
    return Reported("t", "d", "m", "a", value, True, "s", confidence)


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), ("73.1 +- 0.3", 73.1), ("26+7", None), ("0.2-0.4", None), ("55.6 / 91.0", None), ("about 2 %", None)],
)
def test_only_single_numbers_are_numbers(value: Any, number: float | None) -> None:
    assert _reported(value).number == number


def test_memory_is_unverified() -> None:
    assert _reported(1).verified and not _reported(1, "memory-sure").verified


def _tree() -> dict[str, Any]:
    number = {"table": "T1", "dataset": "D", "metric": "AUC", "method": "a", "value": 91.4}
    number |= {"higher_is_better": True, "source": "s", "confidence": "seen"}
    check = {"tasks": ["links/cora"], "budget": "lite", "metric": "auc", "left": {"method": "vgae"}, "right": {"method": "gae"}}
    check |= {"relation": "higher", "margin": 0.0, "because": "b"}
    cell = {
        "row": "r",
        "column": "c",
        "published": {"metric": "AUC"},
        "measured": {"task": "links/cora", "method": "vgae", "metric": "auc"},
    }
    cell |= {"scale": 100, "same_data": True, "why": "w"}
    return {
        "paper": "999",
        "claims": [{"text": "A claim.", "check": check}],
        "reported": [number],
        "table": {"budget": "lite", "margins": {"auc": {"value": 1.0, "why": "w"}}, "cells": [cell]},
        "runs": [{"tasks": ["links/cora"], "methods": ["vgae"], "seeds": "0-1"}],
    }


def test_a_valid_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(_tree()))
    item = read(file, ENTRY)
    assert item.cells[0].published.value == 91.4 and item.cells[0].scale == 100 and item.claims[0].check.right.method == "gae"
    assert item.runs == {"lite": [{"tasks": ["links/cora"], "methods": ["vgae"], "seeds": "0-1", "set": {}}]}


MISTAKES = [
    (["claim"], [], "unknown field 'claim', did you mean 'claims'"),
    (["paper"], "998", "'998' is not '999'"),
    (["claims"], [], "claims: there are none"),
    (["claims", 0, "chek"], {}, "claim 1: unknown field 'chek', did you mean 'check'"),
    (["claims", 0, "missing"], "x", "claim 1: has a check"),
    (["claims", 0, "check", "relation"], "lowre", "claim 1: check.relation 'lowre': did you mean 'lower'"),
    (["claims", 0, "check", "relation"], "equal", "margin=0 must be positive"),
    (["claims", 0, "check", "metric"], "acu", "did you mean 'auc'"),
    (["claims", 0, "check", "budget"], "lit", "did you mean 'lite'"),
    (["claims", 0, "check", "margin"], "1", "margin='1' is not a number"),
    (["claims", 0, "check", "right"], {"method": "gae", "value": 1}, "needs either a method"),
    (["claims", 0, "check", "left"], {"value": 1}, "left: needs a method"),
    (["reported", 0, "confidence"], "sure", "reported 1: confidence 'sure'"),
    (["reported", 0, "value"], None, "value=None has the wrong type"),
    (["table", "cells", 0, "published"], {"metric": "AP"}, "names 0 of the reported numbers, not one"),
    (["table", "cells", 0, "scale"], 0, "scale=0 is not positive"),
    (["table", "cells", 0, "measured", "metric"], "ap", "table.margins needs 'ap'"),
    (["table", "margins", "auc", "value"], 0, "is not positive"),
    (["runs", 0, "methods"], ["mult-*"], "names here, not patterns"),
    (["runs", 0, "grid"], {}, "unknown field 'grid'"),
]


@pytest.mark.parametrize(("where", "value", "message"), MISTAKES, ids=[".".join(map(str, where)) for where, _, _ in MISTAKES])
def test_mistakes_are_one_line(where: list, value: Any, message: str, tmp_path: Path) -> None:
    tree = branch = _tree()
    for name in where[:-1]:
        branch = branch[name]
    branch[where[-1]] = value
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError) as error:
        read(file, ENTRY)
    assert message in str(error.value) and "x.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_published_number_must_be_unique_and_one_number(tmp_path: Path) -> None:
    tree = _tree()
    tree["reported"].append({**tree["reported"][0], "method": "b"})
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match="names 2 of the reported numbers"):
        read(file, ENTRY)
    tree["reported"] = [{**tree["reported"][0], "value": "26+7"}]
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match=r"'26\+7' is not one number"):
        read(file, ENTRY)
    file.write_text("paper: [")
    with pytest.raises(UserError, match="not valid YAML"):
        read(file, ENTRY)
