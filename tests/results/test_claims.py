"""The claims ledger: verdicts at their borders, several tasks, what is not here, formats, the commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from elboard.bench.cli.papers import claims, table
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.papers import Check, Claim, Mapped, Paper, Reported, Side
from elboard.bench.record import Record, write
from elboard.bench.registry import discover
from elboard.bench.run import root_folder
from elboard.results.claims import (
    STATUSES,
    Entry,
    effect_text,
    ledger,
    relation_text,
    render,
    summary,
    summary_text,
    terminal,
    together,
    verdict,
)
from elboard.results.measured import Estimate, Measurements
from elboard.results.stats import compare_rows
from elboard.results.stats.intervals import TINY
from elboard.results.store import groups

METHODS, TASKS = ("vgae", "gae"), ("links/cora", "links/citeseer")


@pytest.mark.parametrize(
    ("relation", "margin", "outer", "status"),
    [
        ("higher", 0.0, (0.001, 1.0), "holds"),
        ("higher", 0.0, (0.0, 1.0), "undecided"),
        ("higher", 0.0, (-1.0, 0.0), "undecided"),
        ("higher", 0.0, (-1.0, -0.001), "refuted"),
        ("higher", 0.5, (0.4, 0.6), "undecided"),
        ("higher", 0.5, (0.51, 0.6), "holds"),
        ("higher", 0.5, (0.1, 0.4), "refuted"),  # higher, but not by the margin
        ("higher", -0.5, (-0.4, 0.1), "holds"),  # not worse by more than 0.5
        ("lower", 0.0, (-1.0, -0.001), "holds"),
        ("lower", 0.0, (0.001, 1.0), "refuted"),
        ("lower", 0.5, (-0.4, -0.1), "refuted"),
        ("lower", 0.5, (-0.7, -0.51), "holds"),
    ],
)
def test_verdicts_at_their_borders(relation: str, margin: float, outer: tuple[float, float], status: str) -> None:
    low, high = outer
    half = Estimate(0.0, 1.0, 5).interval(0.95)[1]
    assert verdict(relation, margin, Estimate((low + high) / 2, (high - low) / 2 / half, 5, 1e-12)) == status


def test_rounding_is_not_beyond_a_margin() -> None:
    exact = Estimate(0.91 - 0.90, 0.0, 2, TINY * 0.91)
    assert exact.mean > 0.01 and verdict("higher", 0.01, exact) == "undecided" == verdict("lower", -0.01, exact)
    assert verdict("equal", 0.01, exact) == "holds" and verdict("higher", 0.0099, exact) == "holds"


def test_several_tasks() -> None:
    assert together(["holds", "holds"]) == "holds" and together(["holds", "refuted", "not run"]) == "refuted"
    assert together(["holds", "undecided"]) == "undecided" and together(["holds", "not run"]) == "undecided"
    assert together(["not run", "not run"]) == "not run"


def check(relation: str = "higher", margin: float = 0.0, right: Side | None = None, tasks: tuple[str, ...] = TASKS[:1]) -> Check:
    return Check(tasks, "smoke", "auc", Side("vgae"), right or Side("gae"), relation, margin, "as said")


def paper_of(*claims: Claim) -> Paper:
    return Paper("999", "x", "T", "A", 2020, "V", "method", "graph", claims, ())


def store(folder: Path, values: dict[tuple[str, str], list[float]]) -> list[Any]:
    """Groups at smoke: (task, method) -> auc of seeds 0, 1, ..."""
    for (task, method), found in values.items():
        for seed, value in enumerate(found):
            spec = resolve(task, method, seed=seed, budget="smoke")
            record = Record.of(spec, f"{seed:012x}", "done", metrics={"auc": value}, primary="auc", ended="2026-01-01")
            write(record, folder / spec.key / "attempts" / f"{record.attempt}.json")
    return groups(folder, shipped=False)


def entry(found: list[Any], claim: Claim, methods: tuple[str, ...] = METHODS) -> Entry:
    (only,) = ledger(Measurements(found), methods, TASKS, [paper_of(claim)])
    return only


def test_a_claim_over_paired_seeds(tmp_path: Path) -> None:
    found = store(tmp_path, {("links/cora", "vgae"): [0.90, 0.92], ("links/cora", "gae"): [0.80, 0.83]})
    # differences 0.10 and 0.09: mean 0.095, standard error 0.005, 95 % interval +- 0.005 * 12.7062
    for margin, status in ((0.0314, "holds"), (0.0315, "undecided"), (0.1585, "undecided"), (0.1586, "refuted")):
        only = entry(found, Claim("c", check(margin=margin)))
        assert only.status == status
    (part,) = only.parts
    assert (part.effect, part.low, part.high) == (pytest.approx(0.095), pytest.approx(0.095 - 0.0635310), pytest.approx(0.095 + 0.0635310))
    assert (part.n, part.test, part.metric) == (2, "paired t", "auc")
    expected = {resolve("links/cora", method, seed=seed, budget="smoke").key for method in METHODS for seed in (0, 1)}
    assert set(part.keys) == expected and len(part.keys) == 4


def test_a_claim_takes_the_variances_of_its_board(tmp_path: Path) -> None:
    """By their own two seeds these are apart; the other rows say how much more such differences vary."""
    sides = {("links/cora", "vgae"): [0.90, 0.92], ("links/cora", "gae"): [0.80, 0.83]}
    others = {("links/cora", "adamic-adar"): [0.5, 0.8], ("links/cora", "spectral-embedding"): [0.9, 0.5]}
    alone, board = (entry(store(tmp_path / name, rows), Claim("c", check())) for name, rows in (("a", sides), ("b", sides | others)))
    values = [dict(enumerate(row)) for row in (sides | others).values()]
    (part,) = board.parts
    found = compare_rows(values).comparison(0, 1)
    assert (part.effect, part.low, part.high, part.p) == pytest.approx((found.effect, found.low, found.high, found.p))
    assert (alone.status, board.status, part.test) == ("holds", "undecided", "moderated paired t")
    equal = entry(store(tmp_path / "b", sides | others), Claim("c", check("equal", 1.0)))
    assert (equal.status, equal.parts[0].test) == ("holds", "two one-sided moderated paired t")


def test_a_claim_takes_no_variance_of_an_oracle_but_where_one_is_a_side(tmp_path: Path) -> None:
    metrics = {"energy": [0.80, 0.801, 0.803], "react": [0.90, 0.902, 0.901], "msp": [0.7, 0.704, 0.701], "vra-true": [0.6, 0.9, 0.95]}

    def compared(names: tuple[str, ...], left: str, right: str, folder: str) -> Any:
        for name in names:
            for seed, value in enumerate(metrics[name]):
                spec = resolve("ood/digits", name, seed=seed, budget="smoke")
                record = Record.of(spec, f"{seed:012x}", "done", metrics={"auroc/mean": value}, primary="auroc/mean", ended="2026-01-01")
                write(record, tmp_path / folder / spec.key / "attempts" / f"{record.attempt}.json")
        of = Measurements(groups(tmp_path / folder, shipped=False))
        sides = [of.find("ood/digits", name, "smoke", {}) for name in (left, right)]
        return of.compare(*sides, "auroc/mean")[0]

    methods = ("energy", "react", "msp")
    assert compared((*methods, "vra-true"), "react", "energy", "all") == compared(methods, "react", "energy", "methods")
    values = [dict(enumerate(metrics[name])) for name in (*methods, "vra-true")]
    found = compared((*methods, "vra-true"), "vra-true", "energy", "all")
    assert (found.low, found.high) == pytest.approx((compare_rows(values).comparison(3, 0).low, compare_rows(values).comparison(3, 0).high))


def test_equal_differences_are_undecided_and_constant_sides_are_exact(tmp_path: Path) -> None:
    still = store(tmp_path / "still", {("links/cora", "vgae"): [0.90, 0.91], ("links/cora", "gae"): [0.89, 0.90]})
    for claim in (Claim("c", check()), Claim("c", check("equal", 0.5))):
        only = entry(still, claim)
        assert (only.status, only.parts[0].p, only.parts[0].note) == ("undecided", None, "equal differences say nothing of the spread")
    exact = store(tmp_path / "exact", {("links/cora", "vgae"): [0.9] * 5, ("links/cora", "gae"): [0.8] * 5})
    only = entry(exact, Claim("c", check()))
    assert (only.status, only.parts[0].p, only.parts[0].test) == ("holds", 0.0, "exact")
    only = entry(exact, Claim("c", check(right=Side("vgae"))))
    assert only.status == "undecided" and effect_text(only.parts[0]) == "both sides are one configuration"
    for values, status in (([0.9] * 2, "undecided"), ([0.9] * 5, "holds")):
        only = entry(store(tmp_path / str(len(values)), {("links/cora", "vgae"): values}), Claim("c", check(right=Side(value=0.5))))
        assert only.status == status, "few equal values say nothing of the spread, against a number too"


def test_equal_is_two_one_sided_tests(tmp_path: Path) -> None:
    found = store(tmp_path, {("links/cora", "vgae"): [0.90, 0.92], ("links/cora", "gae"): [0.80, 0.83]})
    reach = 0.095 + 0.005 * 6.313751514675
    only = entry(found, Claim("c", check("equal", reach + 1e-6)))
    assert only.status == "holds" and only.parts[0].p == pytest.approx(0.05, abs=1e-4) and only.parts[0].test == "two one-sided paired t"
    assert entry(found, Claim("c", check("equal", reach - 1e-6))).status == "undecided"
    assert entry(found, Claim("c", check("equal", 0.03))).status == "refuted"


def test_against_a_value(tmp_path: Path) -> None:
    found = store(tmp_path, {("links/cora", "vgae"): [0.90, 0.92]})
    only = entry(found, Claim("c", check("lower", right=Side(value=0.5))))
    assert only.status == "refuted" and only.parts[0].effect == pytest.approx(0.41)
    # mean 0.91, standard error 0.01: t = 41 with one degree of freedom
    assert only.parts[0].p == pytest.approx(0.015524, abs=1e-5) and only.parts[0].test == "one-sample t"
    assert entry(found, Claim("c", check("equal", 0.07, Side(value=0.91)))).status == "holds"
    assert entry(found, Claim("c", check("equal", 0.06, Side(value=0.91)))).status == "undecided"


def test_one_seed_is_undecided_and_says_so(tmp_path: Path) -> None:
    found = store(tmp_path, {("links/cora", "vgae"): [0.90], ("links/cora", "gae"): [0.80]})
    for claim in (Claim("c", check()), Claim("c", check(right=Side(value=0.5))), Claim("c", check("equal", 9.0))):
        only = entry(found, claim)
        assert (only.status, only.parts[0].note, only.parts[0].p) == ("undecided", "one seed has no interval", None)
        assert "one seed has no interval" in render([only], "md")


def test_what_is_missing(tmp_path: Path) -> None:
    found = store(tmp_path, {("links/cora", "vgae"): [0.90, 0.91], ("links/cora", "gae"): [0.80, 0.82]})
    assert entry(found, Claim("c", missing="wake-sleep")).status == "not implemented"
    absent = entry(found, Claim("c", check()), methods=("vgae",))
    assert (absent.status, absent.note) == ("not implemented", "gae")
    both = entry(found, Claim("c", check(tasks=TASKS)))
    assert [part.status for part in both.parts] == ["holds", "not run"] and both.status == "undecided"
    assert both.parts[1].note == "no records of vgae and gae"
    assert entry(found, Claim("c", check(tasks=TASKS[1:]))).status == "not run"


def test_what_a_check_asks_for_in_words() -> None:
    assert relation_text(check()) == "auc: vgae > gae"
    assert relation_text(check("lower", 1.0, Side("gae", {"latent_dim": 8}))) == "auc: vgae < gae (latent_dim=8) - 1"
    assert relation_text(check("higher", -0.01)) == "auc: vgae > gae - 0.01"
    assert relation_text(check("equal", 0.02, Side(value=0.91))) == "auc: vgae = 0.91 ± 0.02"
    assert relation_text(dataclasses.replace(check(), given=2)) == "auc: vgae > gae, given claim 2"


def test_the_whole_ledger() -> None:
    entries = ledger(Measurements(groups(None)), discover("method"), discover("task"))
    assert len({item.paper.number for item in entries}) == 118
    assert sum(summary(entries).values()) == len(entries) and tuple(summary(entries)) == STATUSES
    assert not [part for item in entries for part in item.parts if part.note.startswith("no records with")]
    assert all(item.note for item in entries if item.paper.slug == "iwae" and item.status == "not implemented")
    assert render(entries, "md").count("\n| ") == len(entries) + 1
    assert_the_terminal_shows_what_was_tested_first(entries)
    tree = json.loads(render(entries, "json"))
    assert tree["summary"] == summary(entries) and len(tree["claims"]) == len(entries)
    assert summary_text(entries).startswith(f"{len(entries)} claims of 118 papers")


def assert_the_terminal_shows_what_was_tested_first(entries: list[Entry]) -> None:
    tested = [entry for entry in entries if entry.status in ("holds", "refuted", "undecided")]
    for width in (60, 80, 120):
        text, words = terminal(entries, width, every=False), " ".join(terminal(entries, width, every=False).split())
        assert max(map(len, text.splitlines())) <= width
        assert all((" ".join(entry.claim.text.split()) in words) == (entry in tested) for entry in entries if entry.claim.text)
        assert f"and {len(entries) - len(tested)} that are not implemented or not run" in words
        every = " ".join(terminal(entries, width).split())
        assert all(" ".join(entry.claim.text.split()) in every for entry in entries)
        assert every.rindex(tested[-1].claim.text[:40]) < every.index(next(e for e in entries if e not in tested).claim.text[:40])


def test_markdown_escapes() -> None:
    nasty = Entry(paper_of(), 1, Claim("a|b <script> \\"), "not run")
    assert r"a\|b &lt;script> \\" in render([nasty], "md")


def test_commands(home: Path, capsys: pytest.CaptureFixture) -> None:
    claims("iwae", "json", shipped=False)
    assert {claim["slug"] for claim in json.loads(capsys.readouterr().out)["claims"]} == {"iwae"}
    claims("not-run", "md", shipped=False)
    shown = capsys.readouterr().out
    assert "| not run |" in shown and "| not implemented |" not in shown
    assert table("051", kind="json", shipped=False) == 0
    assert {cell["verdict"] for cell in json.loads(capsys.readouterr().out)["cells"]} == {"not run"}
    assert table("vgae", dry_run=True, jobs=1) == 0
    assert table("vgae", dry_run=True, jobs=1, shipped=False) == 0
    assert "80 runs: 0 done, 0 failed before, 80 to run" in capsys.readouterr().out
    with pytest.raises(UserError, match="no format 'htm'"):
        table("vgae", kind="htm", shipped=False)
    with pytest.raises(UserError, match="no paper 'vga'"):
        claims("vga", "md", shipped=False)
    with pytest.raises(UserError, match="vano has no runs at lite"):
        table("vano", run=True, jobs=1, kind="md", shipped=False)


def test_missing_runs_are_run_and_then_shown(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    published = Reported("T1", "Cora", "AUC", "gae", 91.0, True, "s", "seen")
    cell = Mapped("GAE", "Cora", published, "links/cora", Side("gae"), "auc", 100, False, "a generated graph")
    small = dataclasses.replace(paper_of(), reported=(published,), cells=(cell,), budget="smoke", seeds={"default": "0-1"})
    monkeypatch.setattr("elboard.bench.papers.paper", lambda name: small)
    for said in ("2 runs done now, 0 done before, 0 failed", "nothing to run: all runs of x at smoke are done"):
        assert table("x", run=True, jobs=1, kind="md", shipped=False) == 0
        heard = capsys.readouterr()
        assert said in heard.err and heard.out.startswith("**999 T (V), smoke**") and "| GAE | Cora | 91.0 |" in heard.out


def test_a_configuration_may_be_the_best_of_a_search(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    words = {"sampler": "random", "trials": 2, "space": {"lr": {"log": [0.001, 0.1]}}}
    searched = Side("gae", search={**words, "seeds": "0-1"})
    plain, other = Side("gae"), dataclasses.replace(searched, search={**words, "trials": 3})
    claim = [
        Claim("c", dataclasses.replace(check("equal", 9.0), left=left, right=right))
        for left, right in ((dataclasses.replace(searched, method="vgae"), searched), (searched, plain))
    ]
    small = dataclasses.replace(paper_of(*claim), budget="smoke", seeds={"default": "0-1"})
    monkeypatch.setattr("elboard.bench.papers.paper", lambda name: small)
    for said in ("search of vgae on links/cora: 2 of 2 trials", "nothing to run: all runs of x at smoke are done"):
        assert table("x", run=True, jobs=1, kind="md", shipped=False) == 0
        assert said in capsys.readouterr().err
    found = Measurements(groups(root_folder(None), shipped=False))
    measured, default = (found.of(small, side, "links/cora", "smoke") for side in (searched, plain))
    assert sorted(measured.runs) == [0, 1] and measured.search["trials"] == 2
    assert sorted(default.runs) == [0, 1] and not {*measured.runs.values()} & {*default.runs.values()}
    assert found.of(small, other, "links/cora", "smoke") is None, "another number of trials"
    equal, unequal = ledger(found, METHODS, TASKS, [small])
    assert equal.status == "holds" and equal.parts[0].trials == (2, 2) and equal.parts[0].note == ""
    assert unequal.status == "undecided" and unequal.parts[0].trials == (2, 0)
    assert unequal.parts[0].note == "unequal tuning (2 trials against none) may be why it holds"
    shown = render([equal, unequal], "md")
    assert (
        "vgae [2 trials] = gae [2 trials] ± 9" in shown
        and ", equal budgets of tuning" in shown
        and "against paper, unequal budgets of tuning" in shown
    )


def test_a_check_may_say_why_unequal_tuning_favours_neither(tmp_path: Path) -> None:
    """EASE's default is the best of 5 on the task, popularity has no options."""
    of = dataclasses.replace(
        check("higher"), tasks=("recommendation/ml-100k",), metric="ndcg@100", left=Side("ease"), right=Side("popularity")
    )
    for method, values in (("ease", [0.5, 0.52]), ("popularity", [0.2, 0.21])):
        for seed, value in enumerate(values):
            spec = resolve("recommendation/ml-100k", method, seed=seed, budget="smoke")
            record = Record.of(spec, f"{seed:012x}", "done", metrics={"ndcg@100": value}, primary="ndcg@100", ended="2026-01-01")
            write(record, tmp_path / spec.key / "attempts" / f"{record.attempt}.json")
    found, names = Measurements(groups(tmp_path, shipped=False)), ("ease", "popularity")
    judged = [
        ledger(found, names, of.tasks, [paper_of(Claim("c", one))])[0]
        for one in (of, dataclasses.replace(of, tuning="popularity has no options"), dataclasses.replace(of, relation="lower"))
    ]
    assert [entry.status for entry in judged] == ["undecided", "holds", "undecided"]
    assert judged[0].parts[0].found == ("defaults of 5 trials on version 1", "none")
    assert judged[1].parts[0].note == "unequal tuning (5 trials against none): popularity has no options"


def test_a_lead_that_is_none_cannot_shrink(tmp_path: Path) -> None:
    found = Measurements(store(tmp_path, {("links/cora", "vgae"): [0.90, 0.92], ("links/cora", "gae"): [0.80, 0.83]}))
    for margin, lead, shrinks in ((0.0, "holds", "holds"), (0.1, "undecided", "undecided"), (0.5, "refuted", "undecided")):
        claims = [Claim("leads", check(margin=margin)), Claim("shrinks", dataclasses.replace(check(), given=1))]
        first, second = ledger(found, METHODS, TASKS, [paper_of(*claims)])
        assert (first.status, second.status, second.parts[0].status) == (lead, shrinks, shrinks)
        assert second.parts[0].note == ("" if lead == "holds" else f"speaks of nothing without claim 1, which is {lead}")
    for given, methods in ((Claim("c", dataclasses.replace(check(tasks=TASKS[1:]), given=1)), METHODS), (claims[1], ("gae",))):
        entries = ledger(found, methods, TASKS, [paper_of(claims[0], given)])
        assert entries[1].status == ("not run" if methods == METHODS else "not implemented"), "what was not run stays so"


def test_what_is_ours_says_so() -> None:
    ours = Entry(paper_of(), 2, Claim("a control", ours=True), "not run")
    assert "(ours) a control" in render([ours], "md") and json.loads(render([ours], "json"))["claims"][0]["ours"] is True
