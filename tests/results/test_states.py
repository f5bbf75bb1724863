"""The state of a paper follows from its file, cards and records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from elboard.bench.cli import main
from elboard.bench.config import resolve
from elboard.bench.full import Full
from elboard.bench.papers import Check, Claim, Mapped, Paper, Reported, Side
from elboard.bench.record import Record, write
from elboard.bench.registry import discover
from elboard.results.states import states
from elboard.results.store import groups

VGAE, GAE = Side("vgae"), Side("gae", {"hidden": 8})
CHECK = Check(("links/cora",), "lite", "auc", VGAE, GAE, "higher", 0.0, "as said")
CITED = dict.fromkeys(("network", "data", "length"), ("as in the paper", "section 3"))


def paper_of(*claims: Claim, number: str = "051", **fields: Any) -> Paper:
    return Paper(number, "x", "T", "A", 2020, "V", "method", "graph", claims, (), seeds={"default": "0-2"}, **fields)


def records(folder: Path, seeds: dict[Side, int], metric: str = "auc") -> list[Any]:
    for side, n in seeds.items():
        for seed in range(n):
            spec = resolve("links/cora", side.method, seed=seed, overrides=side.set)
            record = Record.of(spec, f"{seed:012x}", "done", metrics={metric: 0.9 + seed / 100}, primary=metric, ended="2026-01-01")
            write(record, folder / spec.key / "attempts" / f"{record.attempt}.json")
    return groups(folder, shipped=False)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Any:
    def of(paper: Paper, found: list[Any]) -> str:
        monkeypatch.setattr("elboard.results.states.papers", lambda: [paper])
        (line,) = states(found)
        return line["state"]

    return of


def test_from_none_to_full(state: Any, tmp_path: Path) -> None:
    found = records(tmp_path, {VGAE: 3, GAE: 3})
    tested, missing = Claim("A claim.", CHECK), Claim("Another claim.", missing="a method")
    assert state(paper_of(missing), found) == "none", "it asks for nothing"
    assert state(paper_of(tested, number="999"), found) == "none", "no method is the paper's"
    assert state(paper_of(Claim("A claim.", dataclasses.replace(CHECK, right=Side("dcgan")))), found) == "none", "no such method"
    assert state(paper_of(tested), []) == "code"
    assert state(paper_of(tested, missing), found) == "claim", "a later claim may miss something"
    assert state(paper_of(missing, tested), found) == "runs", "the first may not"
    assert state(paper_of(tested, full=Full()), found) == "claim"
    assert state(paper_of(tested, full=Full(none="its data are not public")), found) == "claim"
    assert state(paper_of(tested, full=Full(CITED)), found) == "full"
    assert state(paper_of(tested, full=Full(CITED, set={"train.epoch": 3})), found) == "claim", "it does not resolve"


def test_each_side_needs_three_seeds(state: Any, tmp_path: Path) -> None:
    tested = paper_of(Claim("A claim.", CHECK))
    assert state(tested, records(tmp_path / "a", {VGAE: 3, GAE: 2})) == "code"
    assert state(tested, records(tmp_path / "b", {VGAE: 3, Side("gae"): 3})) == "code", "another configuration"
    assert state(tested, records(tmp_path / "c", {VGAE: 3, GAE: 3}, "ap")) == "runs", "the check's metric is in no record"


def test_a_paper_without_checks_has_runs_by_its_table(state: Any, tmp_path: Path) -> None:
    published = Reported("T1", "Cora", "AUC", "gae", 91.0, True, "s", "seen")
    cell = Mapped("GAE", "Cora", published, "links/cora", GAE, "auc", 100, False, "why")
    tabled = paper_of(Claim("A claim.", missing="a method"), cells=(cell,))
    assert state(tabled, []) == "code" and state(tabled, records(tmp_path, {GAE: 3})) == "runs"


def test_the_shipped_papers() -> None:
    """No verdict without records, and no state without a method."""
    lines = states(groups(None))
    assert [line["n"] for line in lines] == list(range(1, 119))
    of = {entry.card.paper for entry in discover("method").values()} - {""}
    assert {f"{line['n']:03d}" for line in lines if line["state"] != "none"} == of
    by_slug = {line["slug"]: line for line in lines}
    assert by_slug["vgae"]["methods"] == ["gae", "vgae"]
    assert by_slug["infovae"]["state"] == "claim"
    assert {line["state"] for line in states([]) if line["methods"]} == {"code"}, "without records there is code alone"
    assert not any("not run" in line["claims"] for line in lines if line["state"] in ("claim", "full"))
    assert all(sum(line["claims"].values()) > 0 for line in lines)


def test_listing_by_family_and_state(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "papers", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    (vgae,) = [line for line in every if line["slug"] == "vgae"]
    assert vgae["n"] == 51 and vgae["methods"] == ["gae", "vgae"] and sum(vgae["claims"].values()) == 6
    assert main(["list", "papers", "--family", "graph", "--state", vgae["state"], "--json"]) == 0
    wanted = [line for line in every if (line["family"], line["state"]) == ("graph", vgae["state"])]
    assert json.loads(capsys.readouterr().out) == wanted and vgae in wanted
    assert main(["list", "papers", "--state", vgae["state"]]) == 0
    assert "051" in (out := capsys.readouterr().out)
    assert not any(line["slug"] in out.split() for line in every if line["state"] == "none")
    for words, message in (
        (["papers", "--state", "ful"], "no state 'ful': did you mean 'full'"),
        (["papers", "--family", "graf"], "no family 'graf': did you mean 'graph'"),
        (["tasks", "--state", "full"], "tasks have no state"),
        (["sweeps", "--family", "vae"], "sweeps have no family"),
    ):
        assert main(["list", *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["list", "methods", "--family", "graph", "--json"]) == 0
    assert {"gae", "vgae"} <= {entry["method"] for entry in json.loads(capsys.readouterr().out)}
