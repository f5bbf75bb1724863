"""Values that are bounds, in claims and tables: what they cannot tell stays undecided."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from elboard.bench.config import resolve
from elboard.bench.papers import Check, Claim, Mapped, Paper, Reported, Side
from elboard.bench.record import Record, write
from elboard.results.claims import ledger, stands
from elboard.results.measured import Measurements
from elboard.results.store import groups
from elboard.results.tables import render, table

KEY, MOST = "mutual_information[n=200]", math.log(200)
TASK = "generation/digits"


@pytest.mark.parametrize(
    ("relation", "status", "left", "right", "whether"),
    [
        ("higher", "holds", True, False, True),  # the true left is larger still
        ("higher", "holds", False, True, False),
        ("higher", "refuted", True, False, False),
        ("higher", "refuted", False, True, True),
        ("lower", "holds", True, False, False),
        ("lower", "holds", False, True, True),
        ("lower", "refuted", True, False, True),
        ("lower", "refuted", False, True, False),
        ("equal", "holds", True, True, False),
        ("equal", "refuted", False, True, False),
        ("higher", "holds", True, True, False),
        ("equal", "holds", False, False, True),
        ("higher", "undecided", False, False, True),
    ],
)
def test_a_verdict_stands_where_larger_true_values_would_not_change_it(
    relation: str, status: str, left: bool, right: bool, whether: bool
) -> None:
    assert stands(relation, status, left, right) is whether


@pytest.fixture
def stored(tmp_path: Path) -> list[Any]:
    """Mutual information of vae near its ceiling, of infovae a nat below, three seeds each."""
    for method, value, step in (("vae", MOST - 0.01, 0.001), ("infovae", MOST - 1.0, 0.003)):
        for seed in range(3):
            spec = resolve(TASK, method, seed=seed, budget="smoke")
            metrics = {"nll[k=8,n=50]": 20.0, KEY: value - step * seed}
            record = Record.of(spec, f"{seed:012x}", "done", metrics=metrics, primary="nll[k=8,n=50]", ended="2026-01-01")
            write(record, tmp_path / spec.key / "attempts" / f"{record.attempt}.json")
    return groups(tmp_path, shipped=False)


def paper_of(claims: tuple[Claim, ...] = (), **more: Any) -> Paper:
    return Paper("999", "x", "T", "A", 2020, "V", "method", "vae", claims, budget="smoke", **{"reported": (), **more})


@pytest.mark.parametrize(("relation", "status"), [("higher", "holds"), ("lower", "refuted")])
def test_a_claim_on_a_bound(relation: str, status: str, stored: list[Any]) -> None:
    def judged(left: str, right: Side) -> Any:
        check = Check((TASK,), "smoke", "mutual_information", Side(left), right, relation, 0.0, "as said")
        (entry,) = ledger(Measurements(stored), ("vae", "infovae"), (TASK,), [paper_of((Claim("c", check),))])
        return entry.parts[0]

    assert judged("vae", Side("infovae")).status == status, "a larger value only confirms it"
    assert judged("vae", Side(value=9.0)).status == "undecided"
    assert judged("vae", Side(value=9.0)).note == f"saturated: an estimate of {KEY} is at most 5.30"
    assert judged("infovae", Side(value=9.0)).status == {"higher": "refuted", "lower": "holds"}[relation], "far from its ceiling"


def test_a_cell_of_a_table_on_a_bound(stored: list[Any]) -> None:
    published = Reported("T1", "D", "MI", "vae", 5.29, None, "s", "seen")
    cells = [
        Mapped(method, "MI", published, TASK, Side(method), "mutual_information", 1.0, True, "other splits")
        for method in ("vae", "infovae")
    ]
    found = table(paper_of(reported=(published,), cells=tuple(cells), margins={"mutual_information": (0.1, "so")}), stored)
    assert [cell.verdict for cell in found.cells] == ["underpowered", "differs"], "it would be reproduced, were it no bound"
    assert "underpowered: a bound: its estimator is at most 5.30" in render(found, "md")
