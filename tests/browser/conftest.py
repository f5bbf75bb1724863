"""A folder of synthetic records, the site made of it, and a browser that looks at it from disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elboard.bench.config import RunSpec, resolve
from elboard.bench.record import Record, seal
from elboard.bench.registry import discover

HOSTILE = "<script>alert(1)</script>"
HOW = "apt-get install -y --no-install-recommends chromium; pip install playwright"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs Chromium and Playwright")


def write_run(root: Path, spec: RunSpec, value: float, **changes: Any) -> Path:
    """A finished run whose metrics all lie near ``value`` in (0, 1); not flushed to disk, which would take most of the time."""
    card = discover("task")[spec.task].card
    metrics = {key: value + 0.001 * i for i, key in enumerate(card.metrics)}
    cost = {"wall_s": 1 + 10 * value, "parameters": 1000.0}
    fields = {"metrics": metrics, "primary": card.primary, "cost": cost, "ended": "2026-01-01T00:00:00+00:00", **changes}
    record = seal(Record.of(spec, "a", "done", **fields))
    path = root / spec.key / "attempts" / "a.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(record)), encoding="utf-8")
    return path


def fill(root: Path, task: str, methods: dict[str, float], seeds: int, **options: Any) -> None:
    """Runs of ``methods`` with their mean values and a spread of 0.02 over seeds."""
    rng = np.random.default_rng(sum(map(ord, task)))
    for method, mean in methods.items():
        known = method if method in discover("method") else "gae"
        spec = resolve(task, known, budget="lite", overrides=options)
        for seed in range(seeds):
            write_run(root, replace(spec, method=method, seed=seed), float(mean + 0.02 * rng.standard_normal()))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks with seven rows: one has a hostile name, one has one run, some are separated; curves, a picture."""
    from PIL import Image

    root = tmp_path_factory.mktemp("runs")
    for task in ("links/cora", "links/citeseer"):
        fill(root, task, {"vgae": 0.8, "gae": 0.79, "spectral-embedding": 0.6, "adamic-adar": 0.4, HOSTILE: 0.5}, seeds=4)
        fill(root, task, {"vgae": 0.7}, seeds=6, lr=0.5)
        fill(root, task, {"gae": 0.75}, seeds=1, lr=0.25)
    key = resolve("links/cora", "vgae", budget="lite").key
    (root / key / "curves.jsonl").write_text(
        '{"epoch": 0, "valid/auc": 0.5}\n{"epoch": 1, "valid/auc": 0.75}\n{"epoch": 2, "va', encoding="utf-8"
    )
    (root / key / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(root / key / "pictures" / "samples.png")
    return root


@pytest.fixture(scope="session")
def site(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of ``store``."""
    from elboard.results.board.site import build

    out = tmp_path_factory.mktemp("site")
    build(out, store, shipped=False)
    return out


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none, and says how to get one."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip(f"no Chromium here: {HOW}")
    sync = pytest.importorskip("playwright.sync_api", reason=f"no Playwright here: {HOW}")
    sync.expect.set_options(timeout=60_000)  # a busy machine is no defect
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, site: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of the site by its address; afterwards nothing may have gone wrong and nothing but files may have been asked for."""
    contexts, wrong = [], []

    def failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # what a page was still loading when the next one was opened
            wrong.append(f"failed: {request.url} ({request.failure})")

    def look(url: str, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file://") else wrong.append(request.url))
        page.on("requestfailed", failed)
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto((site / url).as_uri())
        page.wait_for_load_state()
        return page

    yield look
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="session")
def hostile() -> str:
    """The name of a method that is a script."""
    return HOSTILE


@pytest.fixture(scope="session")
def filler() -> Callable[..., None]:
    """:func:`fill`."""
    return fill
