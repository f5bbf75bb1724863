"""Papers' tables: verdicts at their borders, units, what is not measured, escaping."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.identity import group_of
from elboard.bench.papers import Mapped, Paper, Reported, Side, paper
from elboard.bench.record import Record, write
from elboard.results.markup import tex
from elboard.results.measured import ALIKE, Estimate, Measurements, equivalence, estimate, metric_key
from elboard.results.store import Group, groups
from elboard.results.tables import HEAD, judge, render, table, terminal

T95, T975 = 6.313751514675, 12.706204736175  # Student's quantiles with one degree of freedom


def store(folder: Path, found: dict[str, list[float]], **options: Any) -> list[Group]:
    """Groups of vgae on links/cora at smoke with ``options``, from records written to ``folder``: metric -> value of seeds 0, 1, ..."""
    for seed in range(max(map(len, found.values()))):
        spec = resolve("links/cora", "vgae", seed=seed, budget="smoke", overrides=options)
        metrics = {name: values[seed] for name, values in found.items() if seed < len(values)}
        record = Record.of(spec, f"{seed:012x}", "done", metrics=metrics, primary=next(iter(metrics)), ended="2026-01-01")
        write(record, folder / spec.key / "attempts" / f"{record.attempt}.json")
    return groups(folder, shipped=False)


def reported(value: float | str = 91.0, confidence: str = "seen", **changes: str) -> Reported:
    words = {"table": "T1", "dataset": "Cora", "metric": "AUC", "method": "vgae", **changes}
    return Reported(**words, value=value, higher_is_better=True, source="s", confidence=confidence)


def paper_of(*numbers: Reported, same_data: bool = True, scale: float = 100, margin: float = 1.0, **options: Any) -> Paper:
    """A paper whose first number is measured by vgae on links/cora at smoke."""
    mapped = Mapped("VGAE", "Cora", numbers[0], "links/cora", Side("vgae", options), "auc", scale, same_data, "other splits")
    about = {"number": "999", "slug": "x", "title": "A & B", "authors": "", "year": 2020, "venue": "V", "kind": "method", "family": "graph"}
    return Paper(**about, claims=(), reported=numbers, cells=(mapped,), budget="smoke", margins={"auc": (margin, "so")})


@pytest.mark.parametrize(
    ("values", "published", "margin", "verdict"),
    [
        # mean 10, standard error 0.1: the 90 % interval reaches 0.1 * 6.3138 to both sides, the 95 % one 0.1 * 12.7062
        ([9.9, 10.1], 10.0, 0.1 * T95 + 1e-6, "reproduced"),
        ([9.9, 10.1], 10.0, 0.1 * T95 - 1e-6, "underpowered"),
        ([9.9, 10.1], 7.0, 3 - 0.1 * T975 - 1e-6, "differs"),
        ([9.9, 10.1], 7.0, 3 - 0.1 * T975 + 1e-6, "underpowered"),
        ([9.9, 10.1], 13.0, 3 - 0.1 * T975 - 1e-6, "differs"),
        ([9.9, 10.1], 9.5, 0.5 + 0.1 * T95 + 1e-6, "reproduced"),
        ([10.0] * 5, 10.5, 0.5, "reproduced"),
        ([10.0] * 5, 10.5, 0.49, "differs"),
    ],
)
def test_verdicts_at_their_borders(values: list[float], published: float, margin: float, verdict: str) -> None:
    assert judge(values, published, margin) == (verdict, "")


def test_one_seed_is_underpowered_and_says_so() -> None:
    assert judge([10.0], 10.0, 5.0) == ("underpowered", "one seed has no interval")


def test_few_equal_values_are_no_verdict() -> None:
    assert judge([10.0] * 4, 10.0, 5.0) == judge([10.0] * 4, 20.0, 5.0) == ("underpowered", ALIKE)
    assert judge([10.0] * 5, 10.0, 5.0) == ("reproduced", "") and judge([10.0] * 5, 20.0, 5.0) == ("differs", "")


def test_equivalence_includes_its_bounds() -> None:
    found = Estimate(0.5, 0.25, 4)
    inner, outer = found.interval(0.90)[1], found.interval(0.95)[0]
    assert equivalence(found, inner) == "equal" and equivalence(found, inner * 0.999) == "open"
    found = Estimate(-1.7, 0.25, 4)
    inner, outer = found.interval(0.90)[1], -found.interval(0.95)[1]
    assert equivalence(found, outer) == "open" and equivalence(found, outer * 0.999) == "different"


@pytest.mark.parametrize("sign", [1, -1])
def test_at_the_margin_verdict_p_and_interval_agree_whatever_the_rounding(sign: int) -> None:
    rng = np.random.default_rng(0)
    for degrees in (1, 2, 3.7, 9, 50):
        for mean, error in np.exp(rng.normal(0, 5, (200, 2))):
            found = Estimate(sign * mean, error, degrees)
            end = max(map(abs, found.interval(0.90)))
            for margin in (end, np.nextafter(end, 0), np.nextafter(end, 2 * end)):
                assert equivalence(found, margin) == "equal" and found.p_equal(margin) <= 0.05
            assert equivalence(found, end * (1 - 1e-4)) != "equal" and found.p_equal(end * (1 - 1e-4)) > 0.05
    for values, against, margin in (([0.91] * 3, 0.90, 0.01), ([0.3] * 2, 0.1, 0.2), ([1.1, 1.1], 1.0, 0.1)):
        exact = estimate([sign * value for value in values], sign * against)
        assert equivalence(exact, margin) == "equal" and exact.p_equal(margin) == 0, "no spread, at the margin: within"
        assert equivalence(exact, margin - 1e-4) == "different" and exact.p_equal(margin - 1e-4) == 1


def test_estimates_are_scipys() -> None:
    from scipy import stats

    left = [1.0, 2.5, 2.0, 4.0]
    one = stats.ttest_1samp(left, 0)
    assert estimate(left).p() == pytest.approx(one.pvalue, rel=1e-9)
    assert estimate(left).interval(0.9) == pytest.approx(tuple(one.confidence_interval(0.9)))
    sides = [stats.ttest_1samp(left, 3.0, alternative="less").pvalue, stats.ttest_1samp(left, -3.0, alternative="greater").pvalue]
    assert estimate(left).p_equal(3.0) == pytest.approx(max(sides), rel=1e-9)
    assert Estimate(0.5, 0.0, 1).p_equal(1.0) == 0 and Estimate(0.0, 0.0, 1).p() == 1 and Estimate(0.5, 0.0, 1).p() == 0


def test_a_cell_in_the_published_unit(tmp_path: Path) -> None:
    found = table(paper_of(reported(91.0, "memory-sure")), store(tmp_path, {"auc": [0.909, 0.911]}))
    (cell,) = found.cells
    assert (cell.mean, cell.difference, cell.n) == (pytest.approx(91.0), pytest.approx(0.0, abs=1e-9), 2)
    assert (cell.low, cell.high) == (pytest.approx(91 - 0.1 * T975), pytest.approx(91 + 0.1 * T975))
    assert cell.verdict == "reproduced"
    keys = tuple(resolve("links/cora", "vgae", seed=seed, budget="smoke").key for seed in range(2))
    assert cell.keys == keys
    assert "91.0 (unverified)" in render(found, "md") and "(unverified)" not in render(table(paper_of(reported()), []), "md")


def test_other_data_have_numbers_and_no_verdict(tmp_path: Path) -> None:
    (cell,) = table(paper_of(reported(), same_data=False), store(tmp_path, {"auc": [0.909, 0.911]})).cells
    assert cell.verdict == "different data" and cell.mean == pytest.approx(91.0) and cell.margin is None


def test_what_was_not_measured_is_listed(tmp_path: Path) -> None:
    stored = store(tmp_path, {"auc": [0.909, 0.911]})
    other = reported(1.0, method="deepwalk")
    found = table(paper_of(reported(), other, latent_dim=8), stored)
    assert [cell.verdict for cell in found.cells] == ["not run"] and found.rest == (other,)
    assert "| deepwalk | T1, Cora, AUC | 1.0 | – | 0 | – | no method or data here yet |" in render(found, "md")
    assert table(paper_of(reported(), latent_dim=8), [*stored, *store(tmp_path / "2", {"auc": [0.91]}, latent_dim=8)]).cells[0].n == 1
    with pytest.raises(UserError, match="no option 'latentdim'"):
        table(paper_of(reported(), latentdim=8), stored)


def test_old_versions_and_missing_values_do_not_count(tmp_path: Path) -> None:
    stored = store(tmp_path, {"auc": [0.9, 0.92], "ap": [0.9, 0.9, 0.9]})
    (cell,) = table(paper_of(reported()), stored).cells
    assert cell.n == 2 and len(cell.keys) == 2
    old = [
        replace(group, of=replace(group.of, name=(*group.of.name[:-1], group_of({**group.identity, "task": "links/cora@0"}))))
        for group in stored
    ]
    assert table(paper_of(reported()), old).cells[0].verdict == "not run"


def test_metric_keys_come_from_the_records() -> None:
    assert metric_key("nll", [["nll[k=200,n=1000]", "elbo"]]) == "nll[k=200,n=1000]"
    assert metric_key("nll", [["nll[k=200]"], ["nll[k=5000]"]]) is None
    assert metric_key("auroc/far", [["auroc/near", "auroc/far"]]) == "auroc/far"
    with pytest.raises(UserError, match="may be any of"):
        metric_key("fd", [["fd[a]", "fd[b]"]])


def test_full_has_a_setting_of_its_own() -> None:
    (cell,) = table(paper("iwae"), [], "lite").cells[:1]
    assert not cell.same_data
    (cell,) = table(paper("iwae"), [], "full").cells[:1]
    assert cell.same_data and cell.margin == 1.0 and cell.verdict == "not run"


def test_every_format_escapes(tmp_path: Path) -> None:
    nasty = reported("91 +- 1", method="<script>alert(1)</script>", dataset=r"a|b_c & 5 % \x #1 $y^2$ {z} ~")
    found = table(paper_of(reported(), nasty), store(tmp_path, {"auc": [0.909, 0.911]}))
    page = render(found, "html")
    assert "<script" not in page and "&lt;script&gt;" in page and "A &amp; B" in page and '<td class="reproduced">' in page
    lines = render(found, "latex").splitlines()
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    (row,) = [line for line in lines if "script" in line]
    assert r"T1, a|b\_c \& 5 \% \textbackslash{}x \#1 \$y\textasciicircum{}2\$ \{z\} \textasciitilde{}" in row
    assert row.startswith(r"\textless{}script\textgreater{}") and row.count(" & ") == len(HEAD) - 1
    assert r"a\|b" in render(found, "md") and r"\\x" in render(found, "md")
    assert tex("50 %–") == r"50 \%--"
    tree = json.loads(render(found, "json"))
    assert tree["cells"][0]["published"]["value"] == 91.0 and tree["not_measured"][0]["method"] == "<script>alert(1)</script>"
    text = terminal(found)
    assert "<script>alert(1)</script>" in text and len([line for line in text.splitlines() if "script" in line]) == 1


def test_shipped_records_fit_the_tables() -> None:
    """The metric that a cell names is among those of its records: a cell is not run only where there are none."""
    stored = groups(None)
    measurements = Measurements(stored)
    seen = 0
    for slug in ("vgae", "iwae", "mult-vae", "vra", "nested-dropout", "nested-co-teaching", "infovae", "ivon", "vbll"):
        for cell, mapped in zip(table(paper(slug), stored).cells, paper(slug).cells, strict=True):
            of = mapped.of
            measured = measurements.find(mapped.task, of.method, "lite", of.set)
            assert (cell.verdict == "not run") == (measured is None), f"{slug}: {of}"
            seen += measured is not None
    assert seen
