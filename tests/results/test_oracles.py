"""Oracles on boards: methods that a task hands test data are marked, and the others stand as they do without them."""

from __future__ import annotations

import numpy as np

from elboard.bench.config import resolve
from elboard.bench.record import Record
from elboard.results.board.across import gather, left_out
from elboard.results.board.build import Board, boards
from elboard.results.board.leaders import leaders
from elboard.results.board.render import flat, rank_text, render
from elboard.results.store import groups_of


def detectors(*names: str, wild: str = "") -> Board:
    """A board on which the later of ``names`` are better, each with three seeds; those of ``wild`` are far apart."""
    records = []
    for i, name in enumerate(names):
        for seed in range(3):
            spec = resolve("ood/digits", name, seed=seed, budget="smoke")
            value = 0.5 + 0.1 * i + (0.1 if name == wild else 0.001) * seed * (i + 1)
            said = {"metrics": {"auroc/mean": value}, "primary": "auroc/mean", "failure": {}, "cost": {}}
            records.append(Record.of(spec, f"a{i}{seed}", "done", **said))
    (board,) = boards(groups_of(records))
    return board


def test_an_oracle_is_marked_and_never_ranked() -> None:
    """The best of all, it takes part in no comparison: the others stand as they do without it."""
    board, without = detectors("energy", "react", "vra-true"), detectors("energy", "react")
    best, *others = board.rows
    assert best.label == "vra-true [oracle]" and best.oracle and not best.ranks and rank_text(best, board.primary) == "–"
    assert [(row.label, row.ranks) for row in others] == [(row.label, row.ranks) for row in without.rows] and others[0].ranks
    assert best not in leaders(board).rows and leaders(board).rows[0].label == "react"
    assert board.ranked == without.ranked == 2
    assert gather([board], "smoke", least=1).methods == ("energy", "react")
    assert left_out([board], "smoke", gather([board], "smoke", least=1), [])[best.label] == "an oracle"
    said = "[oracle]: is handed the out-of-distribution test images, not ranked"
    assert said in render([board], "md") and said not in render([without], "md")
    assert {row["method"]: row["oracle"] for row in flat([board])} == {"energy": "", "react": "", "vra-true": best.oracle}


def test_methods_are_compared_as_if_there_were_no_oracle() -> None:
    """Whose values vary a hundred times as much as those of two of three methods."""
    names = ("energy", "react", "msp")
    board, without = detectors(*names, "vra-true", wild="vra-true"), detectors(*names)
    (rows, pairs), (plain, expected) = board.pairs(board.primary), without.pairs(board.primary)
    assert [row.label for row in rows] == [row.label for row in plain]
    np.testing.assert_array_equal(pairs.error, expected.error)
    ranked, _ = board.pairs(board.primary, board.rows[0])
    assert len(ranked) == 4 and ranked[0].oracle
