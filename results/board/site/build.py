"""Writing the site."""

from __future__ import annotations

import itertools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elboard import __version__
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import convention, parse
from elboard.results.board.build import arrow
from elboard.results.board.render import caption, heading, number, of_examples, rank_text
from elboard.results.board.site.compare import compare_page
from elboard.results.board.site.embed import inline, json_text
from elboard.results.board.site.model import Model, collect, method_url, paper_url, task_url
from elboard.results.board.site.pages import card_pages, paper_pages
from elboard.results.board.site.source import first_line, paragraphs, shown_path
from elboard.results.claims import effect_text, relation_text, tuning_text

HERE = Path(__file__).parent
MARK = ".elboard-site"  # says that a folder is a site of ours, whose old pages may be removed
FUNCTIONS = (arrow, caption, convention, effect_text, first_line, heading, method_url)  # that templates call
FUNCTIONS += (number, of_examples, paper_url, paragraphs, parse, rank_text, relation_text, shown_path, task_url, tuning_text)


@dataclass(frozen=True)
class Report:
    """What was written: number of pages, seconds it took, bytes of all files."""

    pages: int
    seconds: float
    bytes: int


def build(out: Path, root: Path | None, shipped: bool = True, paths: tuple[Path, ...] = ()) -> Report:
    """Write the site to the folder ``out``, from the records under ``root`` and, with ``shipped``, those of the package.

    The site works from disk and from any folder of a web server: all links are relative, and no page asks another machine for anything.
    ``paths``: where methods and tasks outside the package are.

    Raises:
        UserError: Jinja2 is missing, or ``out`` holds something that is not such a site.
    """
    start = time.perf_counter()
    environment = _environment()
    _prepare(out)
    model = collect(root, shipped, paths)
    shared = {"version": __version__, "model": model}
    written = 0
    for page in itertools.chain(card_pages(model), paper_pages(model), compare_page(model)):
        depth = page.url.count("/")
        context = {**shared, **page.context, "base": "../" * depth, "section": page.section}
        _write(out / page.url, environment.get_template(page.template).render(context))
        for url, file in page.copies.items():
            (out / url).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, out / url)
        written += 1
    _write(out / "search.js", f"ELB.index = {json_text(_index(model))};\n")
    shutil.copytree(HERE / "static", out / "static", dirs_exist_ok=True)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return Report(written, time.perf_counter() - start, size)


def _environment() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise UserError("the site needs Jinja2: pip install 'elboard[site]'") from None
    loader = FileSystemLoader(HERE / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {function.__name__: function for function in FUNCTIONS}
    made.filters["inline"] = inline
    return made


def _prepare(out: Path) -> None:
    """Make ``out`` an empty site; an old one of ours goes, anything else stays and is an error."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, not a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UserError(f"{out} is not empty and holds no site of ELBOard; name an empty or a new folder")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tasks", "methods", "papers", "pictures", "static"):
        shutil.rmtree(out / name, ignore_errors=True)
    for file in out.glob("*.html"):
        file.unlink()
    _write(out / MARK, "")
    _write(out / ".nojekyll", "")  # GitHub Pages would leave out files that begin with an underscore


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _index(model: Model) -> list[dict[str, str]]:
    """What the search box looks through."""
    found = [{"title": name, "kind": "task", "more": entry.card.title, "url": task_url(name)} for name, entry in model.tasks.items()]
    for name in model.method_names:
        more = model.methods[name].card.title if name in model.methods else "known from records only"
        found.append({"title": name, "kind": "method", "more": more, "url": method_url(name)})
    for paper in model.papers:
        more = f"{paper.slug}, {paper.authors}, {paper.year}"
        found.append({"title": paper.title, "kind": "paper", "more": more, "url": paper_url(paper.slug)})
    return found
