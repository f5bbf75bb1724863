"""The site as files: links, escaping, sizes, and what it refuses. No browser."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import sys
import urllib.parse
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from elboard.bench.errors import UserError
from elboard.results.board.build import boards
from elboard.results.board.leaders import leaders
from elboard.results.board.render import number
from elboard.results.board.site import build
from elboard.results.board.site.embed import embedded, inline, json_text, slug
from elboard.results.board.site.model import task_url
from elboard.results.board.site.serve import HOST, Site
from elboard.results.stats import studentized
from elboard.results.store import groups

STATIC = Path(build.__code__.co_filename).parent / "static"


class Page(HTMLParser):
    """Links, ids and event handlers of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def test_all_links_resolve(pages: dict[Path, Page]) -> None:
    checked = 0
    for file, page in pages.items():
        for link in page.links:
            address, _, anchor = link.partition("#")
            assert not re.match(r"[a-z]+:|/", address), f"{file.name}: {link} is not relative"
            target = (file.parent / urllib.parse.unquote(address)).resolve() if address else file
            assert target.is_file(), f"{file.name}: {link}"
            if anchor and target.suffix == ".html" and target.name != "papers.html":  # there it is a filter
                assert urllib.parse.unquote(anchor) in pages[target].ids, f"{file.name}: {link}"
            checked += 1
    assert checked > 3000


def test_no_page_has_code_or_twice_the_same_id(pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        assert not page.handlers, file
        assert len(set(page.ids)) == len(page.ids), file
        text = file.read_text(encoding="utf-8")
        assert "default-src 'none'; script-src 'self'" in text
        assert not re.search(r"<script(?![^>]*(src=|application/json))", text), file


def test_names_are_escaped_everywhere(site: Path, hostile: str) -> None:
    found = [file for file in site.rglob("*") if file.suffix in (".html", ".js") and "alert(1)" in file.read_text(encoding="utf-8")]
    assert {"index.html", "links-cora.html", "methods.html", "search.js"} <= {file.name for file in found}
    for file in found:
        assert hostile not in file.read_text(encoding="utf-8"), file


def test_leaders_have_numbers_and_are_few(site: Path, store: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    (family,) = re.findall(r'<dl class="leaders">(.*?)</dl>', text, re.DOTALL)
    parts = re.split("<dt>", family)[1:]
    for board, part in zip(boards(groups(store, shipped=False), "links"), parts, strict=True):
        found = leaders(board)
        numbers = [number(row.cells[board.primary], key=board.primary) for row in found.rows]
        assert board.primary in part and re.findall(r'<b class="num">(.*?)</b>', part) == numbers and 1 <= len(numbers) <= 3
        assert found.note in part


def test_sizes(site: Path) -> None:
    assert max(file.stat().st_size for file in site.rglob("*.html")) < 2 * 2**20
    assert (site / ".nojekyll").is_file()
    for file in STATIC.glob("*.js"):
        assert len(file.read_text(encoding="utf-8").splitlines()) < 300, file


def test_vendored_files_are_those_that_are_named(site: Path) -> None:
    text = (STATIC / "vendor" / "VERSIONS").read_text(encoding="utf-8")
    for file in [file for file in (site / "static" / "vendor").iterdir() if file.suffix in (".js", ".css")]:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in text, file


def test_the_same_records_give_the_same_site(store: Path, site: Path, tmp_path: Path) -> None:
    build(tmp_path, store, shipped=False)
    for file in (file for file in site.rglob("*") if file.is_file()):
        assert file.read_bytes() == (tmp_path / file.relative_to(site)).read_bytes(), file


def test_an_empty_store_builds_too(tmp_path: Path) -> None:
    report = build(tmp_path / "out", tmp_path / "nothing", shipped=False)
    assert report.pages > 150 and report.bytes > 1e6
    assert "No run has finished on this task yet" in (tmp_path / "out" / "tasks" / "ood-mnist.html").read_text(encoding="utf-8")
    assert "elboard sweep quickstart" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_only_an_empty_folder_or_an_old_site_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match="holds no site of ELBOard"):
        build(tmp_path, None, shipped=False)
    with pytest.raises(UserError, match="is a file"):
        build(tmp_path / "thesis.tex", None, shipped=False)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_pages_of_what_is_gone_go(store: Path, tmp_path: Path) -> None:
    build(tmp_path, store, shipped=False)
    gone = [file for file in (tmp_path / "methods").iterdir() if "alert" in file.name]
    build(tmp_path, None, shipped=False)
    assert len(gone) == 1 and not gone[0].exists() and not (tmp_path / "pictures").exists()


def test_without_jinja_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=re.escape("pip install 'elboard[site]'")):
        build(tmp_path, None, shipped=False)


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "a & b", "\u2028", "ü ±"])
def test_data_cannot_leave_its_element(text: str) -> None:
    block = str(embedded({text: [text, float("nan")]}, "x"))
    inside = block.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert not set("<>&\u2028") & set(inside)
    assert json.loads(inside) == {text: [text, None]} == json.loads(json_text({text: [text, float("inf")]}))


def test_docstrings_are_escaped_and_code_is_marked() -> None:
    assert inline("``p < q`` and <b>") == "<code>p &lt; q</code> and &lt;b&gt;"
    assert inline("see :func:`a.b` or `c`") == "see <code>a.b</code> or <code>c</code>"


def test_names_of_files_are_harmless_and_differ() -> None:
    names = ["vae", "a/b", "a-b", "../../etc/passwd", "<script>", "..", "Ä", "A", "a", "x" * 300, "x" * 301, ""]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names) and slugs[0] == "vae" and task_url("a/b") == "tasks/a-b.html"
    assert len({task_url(name) for name in ("a/b-c", "a-b/c", "a/b/c", "a/b c", "a/B-c")}) == 5
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,80}", made) and ".." not in made for made in slugs)


@pytest.mark.parametrize("methods", [2, 3, 5, 10, 50])
def test_the_studentized_range_is_that_of_its_distribution(methods: int) -> None:
    def below(q: float) -> float:  # the distribution: M times the integral over x of phi(x) (Phi(x) - Phi(x - q))^(M - 1)
        return quad(lambda x: methods * norm.pdf(x) * (norm.cdf(x) - norm.cdf(x - q)) ** (methods - 1), -9, 9)[0]

    assert studentized(methods) == pytest.approx(brentq(lambda q: below(q) - 0.95, 0.1, 20, xtol=1e-9), abs=1e-6)


def test_serving_follows_the_records_and_stays_on_this_machine(tmp_path: Path, filler: Callable[..., None]) -> None:
    root = tmp_path / "runs"
    site = Site(root, port=0, shipped=False)
    try:
        assert site.address.startswith(f"http://{HOST}:") and HOST == "127.0.0.1"

        def board() -> str:
            return urlopen(f"{site.address}tasks/links-cora.html").read().decode()

        assert "No run has finished" in board()
        assert not site.refresh()
        filler(root, "links/cora", {"gae": 0.7}, seeds=2)
        assert site.refresh() and "No run has finished" not in board()
        with pytest.raises(UserError, match="take another --port"):
            Site(root, port=int(site.address.rsplit(":", 1)[1].strip("/")), shipped=False)
        port = int(site.address.rsplit(":", 1)[1].strip("/"))
        connection = http.client.HTTPConnection(HOST, port)
        connection.request("GET", "/../../../../etc/passwd")
        assert connection.getresponse().status == 404
    finally:
        site.close()
    with pytest.raises(URLError):
        urlopen(site.address)
