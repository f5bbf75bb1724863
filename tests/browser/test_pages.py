"""The site in a real browser, opened from disk. ``visit`` fails on errors, warnings, dialogs and requests to other machines."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from elboard.results.board.build import Board, Choice, Row, boards
from elboard.results.board.render import number, rank_text
from elboard.results.stats import Standing, compare_rows, elo, iqm, mean_rank, normalise, standings, summarise, win_rate
from elboard.results.stats.ranks import adjust
from elboard.results.store import groups

pytestmark = pytest.mark.browser
BOARD = "tasks/links-cora.html"
TOP = ("index.html", "boards.html", "methods.html", "papers.html", "compare.html", "metrics.html", "statistics.html")
SHOWN = (*TOP, BOARD, "tasks/ood-mnist.html", "methods/vgae.html", "methods/vae.html", "papers/vgae.html", "papers/iwae.html")
Visit = Callable[..., Any]


def seen(locator: Any) -> Any:
    """Waits for what is expected of ``locator``, without evaluating text, which the pages' policy forbids."""
    from playwright.sync_api import expect

    return expect(locator)


def ready(page: Any, rows: int = 7) -> None:
    """Wait for the grid to hold ``rows`` rows."""
    seen(page.locator(".tabulator-row")).to_have_count(rows)


def cells(page: Any, field: str) -> list[str]:
    return page.locator(f".tabulator-row .tabulator-cell[tabulator-field={field}]").all_inner_texts()


def cora(store: Path) -> Board:
    found = boards(groups(store, shipped=False), "links/cora", choice=Choice(metrics=("all",), rank_all=True))
    return next(board for board in found if board.budget == "lite")


@pytest.mark.slow
def test_every_page_opens_without_a_complaint(visit: Visit, site: Path) -> None:
    pages = sorted(str(file.relative_to(site)) for file in site.rglob("*.html"))
    assert len(pages) > 150
    page = visit(pages[0])
    for url in pages[1:]:
        page.goto((site / url).as_uri())
        assert page.locator("main h1").count() == 1, url
        assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("url", SHOWN)
def test_a_phone_never_scrolls_sideways(visit: Visit, url: str) -> None:
    page = visit(url, width=360)
    if url == BOARD:
        ready(page)
        page.locator("summary", has_text="Methods").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_sorting(visit: Visit) -> None:
    page = visit(BOARD)
    ready(page)
    values = [float(text.split()[0]) for text in cells(page, "m0")]
    assert values == sorted(values, reverse=True) and values[0] > 0.7
    page.locator(".head[data-field=label]").click()
    seen(page.locator(".tabulator-col[tabulator-field=label]")).to_have_attribute("aria-sort", "ascending")
    names = cells(page, "label")
    assert names == sorted(names) and "adamic-adar" in names


def test_filtering(visit: Visit) -> None:
    page = visit(BOARD)
    ready(page)
    page.fill("#filter", "VGAE")
    ready(page, 2)
    assert cells(page, "label") == ["vgae", "vgae (lr=0.5)"]
    assert page.inner_text("#status").startswith("7 of 7 rows"), "words in the box choose what is seen, not what is compared"


def made_boards() -> list[list[dict[int, float]]]:
    """Boards of rows with other spreads and seeds: that pair, that do not, of one seed, that do not vary, of equal differences."""
    rng, made = np.random.default_rng(0), []
    for _ in range(60):
        rows = []
        for _ in range(rng.integers(2, 12)):
            n, first = int(rng.choice([1, 2, 3, 3, 5, 10, 40])), int(rng.choice([0, 0, 20]))
            spread = np.exp(rng.normal() * rng.choice([0, 0.5, 2])) * rng.choice([0, 1, 1, 1])
            rows.append(dict(enumerate((spread * rng.normal(size=n) + 3 * rng.normal()).tolist(), start=first)))
        made.append(rows)
    equal = [{0: 0.90, 1: 0.91}, {0: 0.89, 1: 0.90}]
    alike = [[dict(enumerate(row.tolist())) for row in rng.normal(size=(8, n))] for n in (2, 3, 3, 5, 300)]
    return [*made, *alike, equal, [*equal, {0: 0.70, 1: 0.75}, {0: 0.50, 1: 0.53}]]


def test_comparisons_and_standings_are_those_of_python(visit: Visit) -> None:
    made = made_boards()
    means = [[float(np.mean(list(row.values()))) for row in rows] for rows in made]
    found = visit(BOARD).evaluate(
        """([boards, means]) => boards.map((rows, k) => {
            const pairs = ELB.compareRows(rows.map((row) => new Map(row)));
            return [pairs.map(({ p }) => p), [true, false].map((higher) => ELB.standings(pairs, means[k], higher))];
        })""",
        [[[list(row.items()) for row in rows] for rows in made], means],
    )
    for rows, mean, (p, both) in zip(made, means, found, strict=True):
        pairs = compare_rows(rows)
        np.testing.assert_allclose(np.array(p, dtype=float), pairs.p[np.triu_indices(len(rows), 1)], rtol=0, atol=1e-9)
        for direction, said in zip(("higher", "lower"), both, strict=True):
            assert said == [standing._asdict() for standing in standings(pairs, mean, direction)]


def expected(rows: list[Row], key: str) -> tuple[np.ndarray, list[Standing]]:
    """Holm's p-values of the pairs of ``rows``, row by row, and where each stands."""
    pairs = compare_rows([row.values[key] for row in rows])
    return adjust(pairs.p)[np.triu_indices(len(rows), 1)], standings(pairs, [row.cells[key].mean for row in rows], "higher")


def test_ranks_of_a_subset_are_those_of_python(visit: Visit, store: Path) -> None:
    page, board = visit(BOARD), cora(store)
    ready(page)
    rng = np.random.default_rng(0)
    for _ in range(30):
        chosen = np.sort(rng.choice(len(board.rows), rng.integers(1, len(board.rows) + 1), replace=False))
        page.evaluate("rows => { ELB.boardState.rows = new Set(rows); }", chosen.tolist())
        found = page.evaluate("() => { const of = ELB.boardRanks(); return [of.adjusted, [...of.ranks.values()]]; }")
        adjusted, stand = expected([board.rows[i] for i in chosen], board.primary)
        np.testing.assert_allclose(np.array(found[0], dtype=float), adjusted, rtol=0, atol=1e-9)
        assert found[1] == [standing._asdict() for standing in stand]


def test_leaving_out_a_method_computes_again(visit: Visit, store: Path) -> None:
    page, board = visit(BOARD), cora(store)
    ready(page)
    before = json.loads(page.get_attribute("#board", "data-adjusted"))
    assert len(before) == 21 and cells(page, "rank") == [rank_text(row, board.primary) for row in board.rows]
    page.locator("summary", has_text="Methods").click()
    page.locator("#methods label", has_text="spectral-embedding").locator("input").uncheck()
    ready(page, 6)
    adjusted, _ = expected([row for row in board.rows if row.method != "spectral-embedding"], board.primary)
    after = np.array(json.loads(page.get_attribute("#board", "data-adjusted")), dtype=float)
    np.testing.assert_allclose(after, adjusted, rtol=0, atol=1e-9)
    assert page.inner_text("#status").startswith("6 of 7 rows, ranked by auc: 10 of 15 pairs tested")
    assert page.get_attribute("#status", "aria-live") == "polite"


def test_another_metric_ranks_and_is_drawn(visit: Visit) -> None:
    page = visit(BOARD)
    ready(page)
    page.select_option("#metric", label="ap ↑")
    seen(page.locator("#status")).to_contain_text("ranked by ap")
    assert "ap" in page.get_attribute("#forest", "aria-label") and page.locator("#forest svg").count() == 1
    assert "Pareto front: " in page.get_attribute("#scatter", "aria-label")


def test_numbers_are_written_as_by_python(visit: Visit) -> None:
    rng = np.random.default_rng(1)
    made = [
        rng.normal(rng.normal(0, 10.0**scale), 10.0**spread, n) for scale in range(-3, 5) for spread in range(-5, 4) for n in (1, 2, 5, 7)
    ]
    ties = [
        [0.125],
        [0.375],
        [-0.125],
        [2.5, 2.5],
        [0.00125],
        [12.0625],
        [1e9 + 0.5],
        [1.25e6],
        [-1.35e7],
        [9.96e8],
        [3e17, 5e17],
        [0.5, 1.0],
        [-0.00001],
        [0.0],
    ]
    found = [summarise(values) for values in [*made, *ties]]
    page = visit("metrics.html")
    texts = page.evaluate("cells => cells.map(ELB.number)", [{"mean": c.mean, "low": c.low, "high": c.high} for c in found])
    assert texts == [number(cell) for cell in found]
    assert page.evaluate("ELB.number(null)") == number(None)
    (full,) = [{"mean": c.mean, "low": c.low, "high": c.high, "ceiling": 5.3} for c in [summarise([5.29, 5.295])]]
    assert page.evaluate("ELB.number", full) == number(summarise([5.29, 5.295]), key="mutual_information[n=200]") == "≥ 5.29"
    halves = [(k + 0.5) / 2**j for k in range(-40, 40) for j in range(4)]
    assert page.evaluate("v => v.map((x) => [0, 1, 2, 3].map((d) => ELB.fixed(x, d)))", halves) == [
        [f"{value:.{digits}f}" for digits in range(4)] for value in halves
    ]


def lists(table: np.ndarray) -> list[list[list[float]]]:
    """The runs that are there, by method and task, as the scripts take them."""
    return [[[x for x in runs if not np.isnan(x)] for runs in row] for row in table.tolist()]


def few_runs(absent: bool) -> np.ndarray:
    """Three runs of 5 methods on 4 tasks, with ties."""
    table = np.round(np.random.default_rng(2).normal(size=(5, 4, 3)) + np.arange(5)[:, None, None] / 3, 1)
    if absent:
        table[0, 1], table[3, 2, 1:], table[4, 0, 0] = np.nan, np.nan, np.nan
    return table


@pytest.mark.parametrize("absent", [False, True])
def test_statistics_across_tasks_are_those_of_python(visit: Visit, absent: bool) -> None:
    table = few_runs(absent)
    across = visit("compare.html").evaluate(
        """table => {
            const of = ELB.across, scores = of.normalise(table);
            return { rank: of.meanRank(table), win: of.winRate(table), elo: of.elo(table), iqm: of.iqm(scores), scores };
        }""",
        lists(table),
    )
    scores = normalise(table, True)
    close = {"rtol": 0, "atol": 1e-9}
    for found, expected in zip(sum(across["scores"], []), sum(lists(scores), []), strict=True):
        np.testing.assert_allclose(found, expected, **close)
    np.testing.assert_allclose(across["rank"], mean_rank(table, True), **close)
    np.testing.assert_allclose(across["win"], win_rate(table, True), **close)
    np.testing.assert_allclose(across["elo"], elo(table, True), rtol=0, atol=1e-6)
    np.testing.assert_allclose(across["iqm"], iqm(scores), **close)


@pytest.mark.parametrize("absent", [False, True])
def test_profiles_and_improvement_are_those_of_scipy(visit: Visit, absent: bool) -> None:
    """Agarwal et al. (2021): the share of runs above a threshold, and Mann-Whitney's U over its largest value, averaged over tasks."""
    table, thresholds = lists(few_runs(absent)), [-1e9, 0, 0.25, 0.5, 1, 1e9]
    scores = lists(normalise(few_runs(absent), True))
    profile, beats = visit("compare.html").evaluate(
        "([table, scores, at]) => [ELB.across.profile(scores, at), table.map((a) => table.map((b) => ELB.across.improvement(a, b)))]",
        [table, scores, thresholds],
    )
    shares = [[np.mean([np.mean(np.array(runs) > at) for runs in row if runs]) for at in thresholds] for row in scores]
    np.testing.assert_allclose(profile, shares, rtol=0, atol=1e-9)
    for (i, a), (j, b) in itertools.product(enumerate(table), repeat=2):
        u = [stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(a, b, strict=True) if x and y]
        assert beats[i][j] == pytest.approx(np.mean(u), abs=1e-9)


def test_critical_differences_are_those_of_scipy(visit: Visit) -> None:
    """Demsar (2006): Friedman's p, Nemenyi's distance, and as groups all maximal sets of methods whose mean ranks lie within it."""
    page, rng = visit("compare.html"), np.random.default_rng(5)
    made = [few_runs(True), *(rng.normal(size=(7, 10, 1)) + 0.6 * rng.permutation(7)[:, None, None] for _ in range(20))]
    of = "([table, quantile]) => ELB.across.criticalDifference(table, quantile)"
    for table in made:
        size, quantile = len(table), 3.857656
        found = page.evaluate(of, [lists(table), quantile])
        means = np.array([[np.mean(runs) if runs else np.nan for runs in row] for row in lists(table)])
        means = means[:, ~np.isnan(means).any(0)]
        ranks = stats.rankdata(-means, axis=0).mean(1)
        np.testing.assert_allclose(found["ranks"], ranks, rtol=0, atol=1e-9)
        assert found["p"] == pytest.approx(stats.friedmanchisquare(*means).pvalue, abs=1e-9) and found["tasks"] == means.shape[1]
        assert found["distance"] == pytest.approx(quantile / math.sqrt(2) * math.sqrt(size * (size + 1) / (6 * found["tasks"])))
        sets = [set(some) for n in range(1, size + 1) for some in itertools.combinations(range(size), n)]
        within = [some for some in sets if np.ptp(ranks[list(some)]) <= found["distance"]]
        maximal = {tuple(sorted(some)) for some in within if not any(some < other for other in within)}
        assert {tuple(sorted(group)) for group in found["groups"]} == maximal and len(found["groups"]) == len(maximal)
        assert all(group == sorted(group, key=lambda m: ranks[m]) for group in found["groups"])
    assert page.evaluate(of, [lists(np.ones((3, 4, 2))), 3.3])["p"] == 1
    lone = few_runs(True)[:, :2]
    assert page.evaluate(of, [lists(lone), 3.3]) is None, "one task with all of them"


def test_comparison_follows_the_choice(visit: Visit) -> None:
    page = visit("compare.html")
    ready(page, 5)
    assert "2000 resamples of the seeds" in page.inner_text("#status") and page.locator("#cd svg").count() == 1
    assert page.inner_text("#left-out-count") == "2 rows are left out"
    page.locator("summary", has_text="Methods").click()
    page.locator("#methods label", has_text="adamic-adar").locator("input").uncheck()
    ready(page, 4)
    assert page.locator("#left-out-rows li", has_text="adamic-adar: can be added under Methods").count() == 1
    seen(page.locator("#status")).to_contain_text("computed in this browser")
    assert all("[" in text for text in cells(page, "elo"))
    for name in ("vgae", "gae", "spectral-embedding"):
        page.locator("#methods label").get_by_text(name, exact=True).click()
    seen(page.locator("#status")).to_contain_text("at least two methods")


def test_names_stay_text(visit: Visit, hostile: str) -> None:
    page = visit(BOARD)
    ready(page)
    assert any(text.startswith(hostile) for text in cells(page, "label"))
    page.locator("summary", has_text="Methods").click()
    assert page.locator("#methods label", has_text=hostile).count() == 1
    assert page.locator("script:not([src]):not([type='application/json'])").count() == 0
    page.fill("#search", "alert(1)")
    assert page.locator(".results a").inner_text().startswith(hostile)
    page.locator(".results a").click()
    page.wait_for_load_state()
    assert page.inner_text("h1") == hostile


def test_the_theme_follows_the_system_and_stays_as_chosen(visit: Visit) -> None:
    page = visit(BOARD, color_scheme="dark")
    theme = "document.documentElement.dataset.theme"
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(theme) == "dark"
    dark = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(theme) == "light" and page.evaluate(background) != dark
    assert page.get_attribute("#theme", "aria-label") == "Dark theme"
    page.reload()
    assert page.evaluate(theme) == "light"


def test_keys_reach_everything(visit: Visit) -> None:
    page = visit(BOARD)
    ready(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.field") == "label":
            break
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    seen(page.locator(".tabulator-col[tabulator-field=label]")).to_have_attribute("aria-sort", "ascending")
    assert cells(page, "label") == sorted(cells(page, "label"))


def test_the_ledger_filters_by_status(visit: Visit) -> None:
    page = visit("papers.html")
    seen(page.locator("#status")).not_to_be_empty()
    page.select_option("#status-filter", "holds")
    seen(page.locator("#status")).not_to_contain_text(re.compile("^0 "))
    count = int(page.inner_text("#status").split()[0])
    ready(page, count)
    assert set(cells(page, "status")) == {"holds"}
    page.fill("#filter", "no such words")
    seen(page.locator("#status")).to_contain_text(re.compile("^0 "))


def test_curves_and_pictures_of_a_method(visit: Visit) -> None:
    page = visit("methods/vgae.html")
    assert "valid/auc by epoch on links/cora" in page.get_attribute("#curves", "aria-label")
    assert page.evaluate("document.querySelector('.gallery img').naturalWidth") == 8
