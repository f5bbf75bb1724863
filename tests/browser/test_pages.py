"""The site in a real browser, opened from disk. ``visit`` fails on errors, warnings, dialogs and requests to other machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elboard.results.board.build import Board, Choice, boards
from elboard.results.board.render import number
from elboard.results.stats import critical_difference, elo, holm, iqm, mean_rank, normalise, performance_profile, ranks, summarise, win_rate
from elboard.results.stats import probability_of_improvement as improvement
from elboard.results.store import groups

pytestmark = pytest.mark.browser
BOARD = "tasks/links-cora.html"
TOP = ("index.html", "boards.html", "methods.html", "papers.html", "compare.html", "metrics.html", "statistics.html")
SHOWN = (*TOP, BOARD, "tasks/ood-mnist.html", "methods/vgae.html", "methods/vae.html", "papers/vgae.html", "papers/iwae.html")
Visit = Callable[..., Any]


def ready(page: Any, rows: int = 7) -> None:
    """Wait for the grid to hold ``rows`` rows."""
    page.wait_for_function(f"document.querySelectorAll('.tabulator-row').length === {rows}")


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
    page.wait_for_function("document.querySelector('.tabulator-col[tabulator-field=label]').getAttribute('aria-sort') === 'ascending'")
    names = cells(page, "label")
    assert names == sorted(names) and "adamic-adar" in names


def test_filtering(visit: Visit) -> None:
    page = visit(BOARD)
    ready(page)
    page.fill("#filter", "VGAE")
    ready(page, 2)
    assert cells(page, "label") == ["vgae", "vgae (lr=0.5)"]
    assert page.inner_text("#status").startswith("7 of 7 rows"), "words in the box choose what is seen, not what is compared"


def test_ranks_of_a_subset_are_those_of_python(visit: Visit, store: Path) -> None:
    page, board = visit(BOARD), cora(store)
    ready(page)
    rng = np.random.default_rng(0)
    direction = "higher"
    for _ in range(30):
        chosen = np.sort(rng.choice(len(board.rows), rng.integers(1, len(board.rows) + 1), replace=False))
        p = board.p[board.primary][np.ix_(chosen, chosen)]
        means = [board.rows[i].cells[board.primary].mean for i in chosen]
        page.evaluate("rows => { ELB.boardState.rows = new Set(rows); }", chosen.tolist())
        found = page.evaluate("() => { const of = ELB.boardRanks(); return [of.adjusted, [...of.ranks.values()]]; }")
        expected = holm(p[np.triu_indices(len(chosen), 1)])
        np.testing.assert_allclose(np.array(found[0], dtype=float), expected, rtol=0, atol=1e-9)
        assert found[1] == ranks(means, p, direction)


def test_leaving_out_a_method_computes_again(visit: Visit, store: Path) -> None:
    page, board = visit(BOARD), cora(store)
    ready(page)
    before = json.loads(page.get_attribute("#board", "data-adjusted"))
    assert len(before) == 21 and cells(page, "rank") == [
        "–" if row.ranks[board.primary] is None else str(row.ranks[board.primary]) for row in board.rows
    ]
    page.locator("summary", has_text="Methods").click()
    page.locator("#methods label", has_text="spectral-embedding").locator("input").uncheck()
    ready(page, 6)
    kept = [i for i, row in enumerate(board.rows) if row.method != "spectral-embedding"]
    p = board.p[board.primary][np.ix_(kept, kept)]
    after = np.array(json.loads(page.get_attribute("#board", "data-adjusted")), dtype=float)
    np.testing.assert_allclose(after, holm(p[np.triu_indices(len(kept), 1)]), rtol=0, atol=1e-9)
    assert page.inner_text("#status").startswith("6 of 7 rows, ranked by auc: 10 of 15 pairs tested")
    assert page.get_attribute("#status", "aria-live") == "polite"


def test_another_metric_ranks_and_is_drawn(visit: Visit) -> None:
    page = visit(BOARD)
    ready(page)
    page.select_option("#metric", label="ap ↑")
    page.wait_for_function("document.getElementById('status').textContent.includes('ranked by ap')")
    assert "ap" in page.get_attribute("#forest", "aria-label") and page.locator("#forest svg").count() == 1
    assert "Pareto front: " in page.get_attribute("#scatter", "aria-label")


def test_numbers_are_written_as_by_python(visit: Visit) -> None:
    rng = np.random.default_rng(1)
    made = [
        rng.normal(rng.normal(0, 10.0**scale), 10.0**spread, n) for scale in range(-3, 5) for spread in range(-5, 4) for n in (1, 2, 5, 7)
    ]
    ties = [[0.125], [0.375], [-0.125], [2.5, 2.5], [0.00125], [12.0625], [1e9 + 0.5], [0.5, 1.0], [-0.00001], [0.0]]
    found = [summarise(values) for values in [*made, *ties]]
    page = visit("metrics.html")
    texts = page.evaluate("cells => cells.map(ELB.number)", [{"mean": c.mean, "low": c.low, "high": c.high} for c in found])
    assert texts == [number(cell) for cell in found]
    assert page.evaluate("ELB.number(null)") == number(None)
    halves = [(k + 0.5) / 2**j for k in range(-40, 40) for j in range(4)]
    assert page.evaluate("v => v.map((x) => [0, 1, 2, 3].map((d) => ELB.fixed(x, d)))", halves) == [
        [f"{value:.{digits}f}" for digits in range(4)] for value in halves
    ]


@pytest.mark.parametrize("absent", [False, True])
def test_statistics_across_tasks_are_those_of_python(visit: Visit, absent: bool) -> None:
    rng = np.random.default_rng(2)
    table = np.round(rng.normal(size=(5, 4, 3)) + np.arange(5)[:, None, None] / 3, 1)  # rounded: ties
    if absent:
        table[0, 1], table[3, 2, 1:], table[4, 0, 0] = np.nan, np.nan, np.nan
    page = visit("compare.html")
    values = [[[x for x in runs if not np.isnan(x)] for runs in row] for row in table.tolist()]
    across = page.evaluate(
        """table => {
            const of = ELB.across, scores = of.normalise(table), cd = of.criticalDifference(table, 3.857656);
            return { rank: of.meanRank(table), win: of.winRate(table), elo: of.elo(table), iqm: of.iqm(scores), cd,
                     profile: of.profile(scores, [0, 0.25, 0.5, 1]), beats: table.map((row) => of.improvement(row, table[1])) };
        }""",
        values,
    )
    scores = normalise(table, True)
    close = {"rtol": 0, "atol": 1e-9}
    np.testing.assert_allclose(across["rank"], mean_rank(table, True), **close)
    np.testing.assert_allclose(across["win"], win_rate(table, True), **close)
    np.testing.assert_allclose(across["elo"], elo(table, True), rtol=0, atol=1e-6)
    np.testing.assert_allclose(across["iqm"], iqm(scores), **close)
    np.testing.assert_allclose(across["profile"], performance_profile(scores, [0, 0.25, 0.5, 1]), **close)
    np.testing.assert_allclose(across["beats"], [improvement(row, table[1]) for row in table], **close)
    expected = critical_difference(table, True)
    np.testing.assert_allclose(across["cd"]["ranks"], expected.ranks, **close)
    assert across["cd"]["p"] == pytest.approx(expected.p, abs=1e-9) and across["cd"]["tasks"] == expected.tasks
    assert across["cd"]["distance"] == pytest.approx(expected.distance, abs=1e-5)
    assert [tuple(group) for group in across["cd"]["groups"]] == list(expected.groups)


def test_comparison_follows_the_choice(visit: Visit) -> None:
    page = visit("compare.html")
    ready(page, 4)
    assert "2000 resamples of the seeds" in page.inner_text("#status") and page.locator("#cd svg").count() == 1
    page.locator("summary", has_text="Methods").click()
    page.locator("#methods label", has_text="adamic-adar").locator("input").uncheck()
    ready(page, 3)
    page.wait_for_function("document.getElementById('status').textContent.includes('computed in this browser')")
    assert all("[" in text for text in cells(page, "elo"))
    for name in ("vgae", "gae"):
        page.locator("#methods label").get_by_text(name, exact=True).click()
    page.wait_for_function("document.getElementById('status').textContent.includes('at least two methods')")


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
    page.wait_for_function("document.querySelector('.tabulator-col[tabulator-field=label]').getAttribute('aria-sort') === 'ascending'")
    assert cells(page, "label") == sorted(cells(page, "label"))


def test_the_ledger_filters_by_status(visit: Visit) -> None:
    page = visit("papers.html")
    page.wait_for_function("document.getElementById('status').textContent !== ''")
    page.select_option("#status-filter", "holds")
    page.wait_for_function("!document.getElementById('status').textContent.startsWith('0 ')")
    count = int(page.inner_text("#status").split()[0])
    ready(page, count)
    assert set(cells(page, "status")) == {"holds"}
    page.fill("#filter", "no such words")
    page.wait_for_function("document.getElementById('status').textContent.startsWith('0 ')")


def test_curves_and_pictures_of_a_method(visit: Visit) -> None:
    page = visit("methods/vgae.html")
    assert "valid/auc by epoch on links/cora" in page.get_attribute("#curves", "aria-label")
    assert page.evaluate("document.querySelector('.gallery img').naturalWidth") == 8
