"""What a page shows is whole at any width: labels of charts, and what further columns there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser
BOARD = "tasks/links-cora.html"
WIDTHS = [1280, 800, 390]
LONG = [
    "softmax (lr=0.0006604, optimizer=adamw, weight_decay=0.001195) [tuned, 3 trials]",
    "selfvae (transforms=['downscale', 'downscale'], train.epochs=10)",
    "nested-co-teaching",
    "a" * 60,
]
METRIC = "collapsed_units[eps=0.01,delta=0.05]/beta0.25"
DRAW = """([labels, metric]) => {
    const cell = (i) => ({ mean: i + 1, low: i + 0.5, high: i + 1.5, n: 3 });
    ELB.forest(document.getElementById("forest"), labels.map((label, i) => ({ label, cell: cell(i), values: [i + 1] })), metric);
    const points = labels.map((label, i) => ({ label, cost: 10 ** i, mean: 4 - i, cell: cell(i) }));
    ELB.scatter(document.getElementById("scatter"), points, points, "wall-clock time, s", metric);
}"""
ACROSS = """([labels]) => {
    const host = document.getElementById("cd");
    ELB.criticalDifference(host, labels, labels.map((_, i) => [[i], [i + 1], [i]]), 3.6);
    const profile = document.getElementById("profile");
    const { height, options } = ELB.legend(profile, labels);
    ELB.chart(profile, "profile", () => ({
        grid: { bottom: 40 + height }, legend: options, xAxis: ELB.axis({ type: "value" }), yAxis: ELB.axis({ type: "value" }),
        series: labels.map((name, i) => ({ name, type: "line", data: [[0, i], [1, i]], ...ELB.series(i) })),
    }), 300 + height);
}"""
TEXTS = """id => {
    const svg = document.querySelector(`#${id} svg`), box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].map((node) => {
        const of = node.getBoundingClientRect();
        const within = of.left >= box.left - 1 && of.right <= box.right + 1 && of.top >= box.top - 1 && of.bottom <= box.bottom + 1;
        return [node.textContent, within];
    });
}"""
Visit = Callable[..., Any]


def seen(locator: Any) -> Any:
    """Waits for what is expected of ``locator``."""
    from playwright.sync_api import expect

    return expect(locator)


def whole(page: Any, chart: str, labels: list[str]) -> None:
    """All of ``labels`` stand in ``chart``, line by line, and none runs over its border."""
    texts = page.evaluate(TEXTS, chart)
    assert not [text for text, within in texts if not within]
    said = "".join(text for text, _ in texts).replace(" ", "").replace("\u00a0", "")
    assert "…" not in said
    for label in labels:
        assert label.replace(" ", "") in said, label


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_of_charts_are_not_cut(visit: Visit, width: int) -> None:
    page = visit(BOARD, width=width)
    page.locator("#forest svg").wait_for()
    page.evaluate(DRAW, [LONG, METRIC])
    whole(page, "forest", [*LONG, METRIC])
    whole(page, "scatter", [METRIC])
    assert any("nested-co-teaching" in text for text, _ in page.evaluate(TEXTS, "scatter"))
    page = visit("compare.html", width=width)
    page.locator("#cd svg").wait_for()
    page.evaluate(ACROSS, [LONG])
    whole(page, "cd", LONG)
    whole(page, "profile", LONG)
    assert page.evaluate("document.getElementById('cd').scrollWidth <= document.getElementById('cd').clientWidth")


def test_long_words_break_behind_their_marks(visit: Visit) -> None:
    page = visit(BOARD)
    cases = [("a bc def", 4), ("weight_decay=0.001195)", 15), ("x" * 9, 4), ("", 4), ("ab", 2), ("[64, 64]", 3)]
    found = page.evaluate("cases => cases.map((of) => ELB.fold(...of))", cases)
    assert found == [["a bc", "def"], ["weight_", "decay=0.001195)"], ["xxxx", "xxxx", "x"], [""], ["ab"], ["[64", ",", "64]"]]


BOX = """node => { const of = node.getBoundingClientRect(); return [of.left, of.right, of.top, of.bottom]; }"""
BEYOND = """() => {
    const holder = document.querySelector(".tabulator-tableholder"), end = holder.getBoundingClientRect().right;
    const heads = [...document.querySelectorAll(".tabulator-col")].filter((head) => head.offsetParent);
    return heads.filter((head) => head.getBoundingClientRect().right > end + 2).map((head) => head.textContent);
}"""


def on_screen(page: Any, cell: str) -> None:
    """The first of ``cell`` is within the window, all of its text."""
    node = page.locator(cell).first
    left, right, top, bottom = node.evaluate(BOX)
    size = page.viewport_size
    assert left >= 0 and right <= size["width"] and top >= 0 and bottom <= size["height"], (cell, left, right, top, bottom)
    assert node.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), "its text is cut"


@pytest.mark.parametrize("width", [360, 390])
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (BOARD, [".tabulator-cell[tabulator-field=label]", ".tabulator-cell[tabulator-field=m0]"]),
        ("papers.html", [".tabulator-cell[tabulator-field=status]", ".tabulator-cell[tabulator-field=claim]"]),
        ("papers/iwae.html", ["#claim-1 b"]),
        ("compare.html", [".tabulator-cell[tabulator-field=label]", ".tabulator-cell[tabulator-field=mean_rank]"]),
    ],
)
def test_a_phone_shows_the_claim_and_the_first_metric(visit: Visit, width: int, url: str, shown: list[str]) -> None:
    page = visit(url, width=width)
    if "tabulator" in shown[0]:
        page.locator(".tabulator-row").first.wait_for()
    for cell in shown:
        on_screen(page, cell)


def test_a_phone_shows_the_values_of_a_method(visit: Visit) -> None:
    page = visit("methods/vgae.html", width=390)
    _, right, *_ = page.locator("#results ~ .scroll td.num").first.evaluate(BOX)
    assert right <= 390


@pytest.mark.parametrize("url", [BOARD, "compare.html", "papers.html"])
def test_what_further_columns_there_are_is_said(visit: Visit, url: str) -> None:
    page = visit(url, width=390)
    page.locator(".tabulator-row").first.wait_for()
    button = page.locator(".further:visible")
    seen(button).to_have_count(1)
    beyond = page.evaluate(BEYOND)
    seen(button).to_contain_text(f"{len(beyond)} more column")
    assert beyond[0].split(" [")[0] in button.inner_text() and page.locator(".tabulator").evaluate(
        "of => of.parentElement.querySelector('.more') !== null"
    )
    for _ in range(20):
        if page.evaluate(BEYOND) == []:
            break
        button.click()
        page.wait_for_timeout(600)
    assert page.evaluate(BEYOND) == [], "the button goes to them"
    seen(page.locator(".further:visible")).to_have_count(0)
    assert page.locator(".tabulator.more, .more .tabulator").count() == 0


def test_where_all_columns_are_shown_nothing_is_said(visit: Visit) -> None:
    page = visit("compare.html", width=1280)
    page.locator(".tabulator-row").first.wait_for()
    assert page.evaluate(BEYOND) == [] and page.locator(".further:visible").count() == 0 and page.locator(".more").count() == 0
    page = visit("index.html", width=390)
    assert page.locator(".further:visible").count() == 0
    page.locator("details", has_text="generation").locator("summary").first.click()
    seen(page.locator(".further:visible")).to_contain_text("more columns")
    assert page.locator(".matrix.more").count() == 1


def test_texts_and_numbers_of_a_board_are_whole(visit: Visit) -> None:
    for width in (1280, 390):
        page = visit(BOARD, width=width)
        page.locator(".tabulator-row").first.wait_for()
        for cell in page.locator(".tabulator-cell.wrap").all():
            assert cell.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
