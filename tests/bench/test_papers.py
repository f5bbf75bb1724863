"""Papers as data: every file is valid, complete, runnable; mistakes are one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import convention
from elboard.bench.papers import FOLDER, Paper, Reported, Side, index, paper, papers, read
from elboard.bench.registry import discover
from elboard.tasks.parts.features import SHAPES

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


OWN = dict.fromkeys(("data", "length"), {"text": "as here", "source": "section 3"})
VGAE, GAE, WIDE = ({"methods": [name], "set": options} for name, options in (("vgae", {}), ("gae", {}), ("vgae", {"hidden": 64})))


@pytest.fixture(scope="module")
def found() -> list[Paper]:
    return papers()


def test_every_paper_has_a_file_and_every_file_a_paper(found: list[Paper]) -> None:
    assert [item.number for item in found] == [f"{n:03d}" for n in range(1, 119)]
    assert {item.slug for item in found} == {file.stem for file in FOLDER.glob("*.yaml")}
    assert all(item.title and item.venue and item.claims for item in found)


def test_no_published_number_is_lost(found: list[Paper]) -> None:
    assert {item.number: len(item.reported) for item in found} == {entry["n"]: entry["reported"] for entry in index()}
    assert sum(len(item.reported) for item in found) == 575


def test_every_method_of_a_paper_is_in_its_claims_or_table(found: list[Paper]) -> None:
    by_number = {item.number: item for item in found}
    for entry in discover("method").values():
        if entry.card.paper:
            item = by_number[entry.card.paper]
            assert entry.card.name in {part.method for part in _parts(item)}, f"{entry.card.name}: in no claim or table of {item.slug}"


def _parts(item: Paper) -> Iterator[Side]:
    yield from (cell.of for cell in item.cells)
    for claim in item.claims:
        if claim.check:
            yield from claim.check.sides


def test_runs_exist_and_each_configuration_is_used(found: list[Paper]) -> None:
    """Methods, tasks and options are valid at every budget that the file speaks of."""
    for item in found:
        used = {name for name, side in item.configurations.items() if side in [of for _, of in (*item.compared("full"), *item.also)]}
        used |= {name for name, side in item.configurations.items() if any(cell.of == side for cell in item.cells)}
        assert used == set(item.configurations), f"{item.slug}: configurations that no check, cell or `also` needs"
        for budget in ("lite", "full"):
            for task, of in item.asked(budget):
                resolve(task, of.method, budget=budget, overrides=item.options(of, budget))


def test_metrics_of_checks_name_feature_networks_whole_or_not_at_all(found: list[Paper]) -> None:
    """A key with parameters is looked up as it is, and in records a network has the hash of its weights there."""
    keys = {claim.check.metric for item in found for claim in item.claims if claim.check}
    parts = {key: {*key.partition("[")[2].partition("]")[0].split(",")} for key in keys}
    assert not {key for key, of in parts.items() if of & {*SHAPES}}


def test_seeds_of_several_tasks_that_checks_alone_ask_for(tmp_path: Path) -> None:
    tree = {name: value for name, value in _tree().items() if name != "table"}
    tree["seeds"] = {"default": "0-4", "links/cora": "0-9"}
    assert _read(tmp_path, tree).seeds == tree["seeds"]


def test_runs_are_what_checks_cells_and_also_ask_for(tmp_path: Path) -> None:
    tree = _tree()
    tree["also"] = [{"tasks": ["links/citeseer"], "configurations": ["gae"]}]
    tree["configurations"]["gae"]["seeds"] = "0-12"
    assert {run["seeds"] for run in _read(tmp_path, tree).runs("lite") if run["methods"] == ["gae"]} == {"0-12"}, "its own on all tasks"
    del tree["configurations"]["gae"]["seeds"]
    tree["seeds"] = {"links/citeseer": "0-9"}
    tree["full"] = {**OWN, "set": {"train.epochs": 7}}
    item = _read(tmp_path, tree)
    vgae, gae, wide = ({"tasks": ["links/cora"], "seeds": "0-2", **of} for of in (VGAE, GAE, WIDE))
    assert item.runs("lite") == [vgae, gae, wide, {"tasks": ["links/citeseer"], "seeds": "0-9", **GAE}], "a check's sides, the cell, also"
    longer = [{**entry, "set": {**entry["set"], "train.epochs": 7}} for entry in (vgae, gae, wide)]
    assert item.runs("full") == longer, "checks and cells, with the options of full; `also` is for lite"
    del tree["full"]
    with pytest.raises(UserError, match="x has no runs at full: it has some at smoke and lite"):
        _read(tmp_path, tree).runs("full")
    tree["full"] = {"none": "the paper's data are not public"}
    with pytest.raises(UserError, match="x has no runs at full"):
        _read(tmp_path, tree).runs("full")
    with pytest.raises(UserError, match="x has no runs at lite: see `elboard claims x`"):
        _read(tmp_path, {"paper": "999", "claims": [{"text": "A claim.", "missing": "all"}], "reported": []}).runs("lite")


def test_a_check_is_asked_for_at_its_own_budget(tmp_path: Path) -> None:
    tree = _tree()
    tree["full"] = OWN
    tree["claims"][0]["check"]["budget"] = "full"
    item = _read(tmp_path, tree)
    assert [entry["set"] for entry in item.runs("lite")] == [WIDE["set"]] and len(item.runs("full")) == 3
    assert not item.compared("lite") and item.budget == "lite"


def test_a_configuration_that_is_searched(tmp_path: Path) -> None:
    tree, words = _tree(), {"sampler": "random", "trials": 8, "space": {"lr": {"log": ["1e-4", 0.1]}}}
    tree["configurations"]["gae"]["search"] = {**words, "seeds": "0-4"}
    tree["claims"] += [{"text": "A control.", "ours": True, "missing": "all"}]
    item = _read(tmp_path, tree)
    assert item.claims[0].check.right.label == "gae [8 trials]" and [claim.ours for claim in item.claims] == [False, True]
    plain, searched, _ = item.runs("lite")
    assert "search" not in plain and plain["seeds"] == "0-2"
    assert searched["search"] == {**words, "space": {"lr": {"log": [1e-4, 0.1]}}} and searched["seeds"] == "0-4"
    tree["claims"].reverse()
    with pytest.raises(UserError, match="claims: those that are `ours` come last"):
        _read(tmp_path, tree)


def test_the_side_that_a_shipped_check_says_wins_was_not_searched_more(found: list[Paper]) -> None:
    """As many trials for both; or more for the side that is to lose, as of an option that it alone has, which can only help that side. A
    search for one side alone may mirror the trials by which the card of the other found its defaults."""
    cards = {name: entry.card for name, entry in discover("method").items()}

    def trials(side: Side) -> int:
        known = cards[side.method].searched
        return side.search.get("trials", known.trials if known else 0)

    checks = [claim.check for item in found for claim in item.claims if claim.check and any(of.search for of in claim.check.sides)]
    assert len(checks) > 5
    for check in checks:
        if len(check.sides) == 1:  # against a value
            continue
        left, right = map(trials, check.sides)
        assert left == right or (left < right and check.relation != "equal" and check.relation == convention(check.metric).direction), check


def test_full_is_complete_with_three_citations(tmp_path: Path) -> None:
    tree, cited = _tree(), {"text": "as here", "source": "section 3"}
    tree["full"] = {"network": cited, "data": cited, "length": {"instead": "7 epochs"}}
    item = _read(tmp_path, tree)
    own = "of the paper (section 3): as here"
    assert not item.full.complete and item.full.lines() == [f"network {own}", f"data {own}", "length not of the paper: 7 epochs"]
    tree["full"]["length"] = cited
    assert _read(tmp_path, tree).full.complete and paper("vgae").full.complete and not paper("iwae").full.complete


def test_each_paper_with_runs_says_what_full_is_of_it(found: list[Paper]) -> None:
    for item in found:
        if item.asked("lite"):
            assert item.full, f"{item.slug}: its file does not say whether full is the paper's own data and length"
    assert paper("mult-vae").full.lines()[0].startswith("no runs at full: ML-20M, Netflix and MSD are not here")


def _read(folder: Path, tree: dict[str, Any]) -> Paper:
    file = folder / "x.yaml"
    file.write_text(yaml.safe_dump(tree))
    return read(file, ENTRY)


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
    check = {"tasks": ["links/cora"], "budget": "lite", "metric": "auc", "left": "vgae", "right": "gae"}
    check |= {"relation": "higher", "margin": 0.0, "because": "b"}
    cell = {
        "row": "r",
        "column": "c",
        "published": {"metric": "AUC"},
        "measured": {"task": "links/cora", "configuration": "wide", "metric": "auc"},
    }
    cell |= {"scale": 100, "same_data": True, "why": "w"}
    return {
        "paper": "999",
        "configurations": {"vgae": {"method": "vgae"}, "gae": {"method": "gae"}, "wide": {"method": "vgae", "set": {"hidden": 64}}},
        "claims": [{"text": "A claim.", "check": check}],
        "reported": [number],
        "table": {"budget": "lite", "margins": {"auc": {"value": 1.0, "why": "w"}}, "cells": [cell]},
    }


def test_a_valid_file(tmp_path: Path) -> None:
    item = _read(tmp_path, _tree())
    assert (item.cells[0].task, item.cells[0].of, item.cells[0].metric) == ("links/cora", Side("vgae", {"hidden": 64}), "auc")
    assert item.cells[0].published.value == 91.4 and item.cells[0].scale == 100 and item.claims[0].check.right.method == "gae"


MISTAKES = [
    (["claim"], [], "unknown field 'claim', did you mean 'claims'"),
    (["paper"], "998", "'998' is not '999'"),
    (["claims"], [], "claims: there are none"),
    (["claims", 0, "chek"], {}, "claims 1: unknown field 'chek', did you mean 'check'"),
    (["claims", 0, "missing"], "x", "claims 1: has a check"),
    (["claims", 0, "check", "relation"], "lowre", "claims 1.check.relation 'lowre': did you mean 'lower'"),
    (["claims", 0, "check", "relation"], "equal", "margin=0 must be positive"),
    (["claims", 0, "check", "metric"], "acu", "did you mean 'auc'"),
    (["claims", 0, "check", "budget"], "lit", "did you mean 'lite'"),
    (["claims", 0, "check", "margin"], "1", "margin='1' is no int or float"),
    (["claims", 0, "check", "right"], {"method": "gae", "value": 1}, "check.right: unknown field 'method'"),
    (["claims", 0, "check", "right"], "gea", "claims 1.check.right 'gea': did you mean 'gae'"),
    (["claims", 0, "check", "left"], {"value": 1}, "check.left {'value': 1}: known: gae, vgae, wide"),
    (["reported", 0, "confidence"], "sure", "reported 1.confidence 'sure'"),
    (["reported", 0, "value"], None, "value=None is no int or float or str"),
    (["table", "cells", 0, "published"], {"metric": "AP"}, "names 0 of the reported numbers, not one"),
    (["table", "cells", 0, "scale"], 0, "scale=0 is not positive"),
    (["table", "cells", 0, "measured", "metric"], "ap", "table.margins needs 'ap'"),
    (["table", "margins", "auc", "value"], 0, "is not positive"),
    (["table", "cells", 0, "measured", "configuration"], "wid", "measured.configuration 'wid': did you mean 'wide'"),
    (["configurations", "gae"], {"set": {}}, "configurations.gae: needs 'method'"),
    (["configurations", "gae", "search"], {"trials": 2, "space": {"lr": [1]}}, "configurations.gae.search: needs 'sampler'"),
    (["configurations", "gae", "search"], {"trails": 2}, "configurations.gae.search: unknown field 'trails', did you mean 'trials'"),
    (["claims", 0, "check", "tunning"], "x", "claims 1.check: unknown field 'tunning', did you mean 'tuning'"),
    (["claims", 0, "check", "given"], 1, "claims: given=1 of number 1 is no number of an earlier claim with a check"),
    (["also"], [{"tasks": ["links/cora"], "configurations": ["vgea"]}], "also 1.configurations 1 'vgea': did you mean 'vgae'"),
    (["seeds"], {"links/coar": "0-9"}, "seeds: task 'links/coar': did you mean 'links/cora'"),
    (["full"], {"data": {"text": "all of it"}}, "full.data: needs 'source'"),
    (["full"], {"none": "why", "set": {}}, "full: says why there is `none`"),
    (["full"], {"data": {"instead": "half of it"}}, "full: needs 'length': with `text` and `source`"),
    (["full"], {"length": {"instead": "7 epochs", "text": "x"}}, "full.length: unknown field 'text'"),
]


@pytest.mark.parametrize(("where", "value", "message"), MISTAKES, ids=[".".join(map(str, where)) for where, _, _ in MISTAKES])
def test_mistakes_are_one_line(where: list, value: Any, message: str, tmp_path: Path) -> None:
    tree = branch = _tree()
    for name in where[:-1]:
        branch = branch[name]
    branch[where[-1]] = value
    with pytest.raises(UserError) as error:
        _read(tmp_path, tree)
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
