"""Plug-in packages that are at fault are told in one line and left out, and a package may be written as packages are."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("plugin_package", HERE / "test_plugin_package.py")
plugin_package = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(plugin_package)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What commands say beside the package, changed: by file, what is replaced and by what (all, where nothing is)."""
    copy = tmp_path / "package"
    shutil.copytree(plugin_package.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(plugin_package, "PACKAGE", copy)

    def change_and_say(changes: dict[str, tuple[str, str]], *commands: str) -> list[tuple[int, str]]:
        for name, (old, new) in changes.items():
            text = (copy / name).read_text() if old else ""
            assert old in text
            (copy / name).write_text(text.replace(old, new) if old else new)
        return plugin_package.elboard(tmp_path, *commands)

    return change_and_say


POINTS = "forecasts-1.0.dist-info/entry_points.txt"


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        (
            "forecasts/kind.py",
            "METRICS = (",
            "METRICS = 3 and (1 / 0,",
            "forecasts = forecasts.kind (elboard.kinds): ZeroDivisionError",
        ),
        ("forecasts/kind.py", "METRICS = ", "METRICS = 3; OTHER = ", "'int' object is not iterable"),
        (POINTS, "forecasts.kind", "forecasts.kidn", "(elboard.kinds): ModuleNotFoundError: No module named 'forecasts.kidn'"),
        (POINTS, "forecasts.line", "forecasts.lien", "forecasts = forecasts.lien (elboard.methods): there is no such module"),
        ("forecasts/kind.py", "METRICS = (", "raise SystemExit(0)\nMETRICS = (", "(elboard.kinds): SystemExit: 0"),
        ("forecasts/line.py", "CARD = ", "CARD = 3 + ", "line.py:"),
        ("forecasts/waves.py", "BUDGETS = ", "BUDGETS = 3; OTHER = ", "BUDGETS says 3, not {budget: {section: {option: value}}}"),
        ("forecasts/waves.py", 'name="forecasts/waves"', 'name="ood/digits"', "task 'ood/digits' is claimed by two files: "),
        ("forecasts/line.py", 'name="line"', 'name="a line"', "CARD: name 'a line' is not a name: letters, digits"),
        ("forecasts/waves.py", 'name="forecasts/waves"', 'name="waves"', "CARD: name 'waves' is not of the form family/data"),
        (POINTS, "forecasts.waves", "absent.waves", "(elboard.tasks): ModuleNotFoundError: No module named 'absent'"),
        ("forecasts/line.py", 'cite="textbook"', 'cite="textbook", requires="gpu"', "CARD: requires='gpu' is no tuple[str, ...]"),
        ("forecasts/line.py", 'cite="textbook"', 'cite="textbook", version="2"', "CARD: version='2' is no int"),
        ("forecasts/waves.py", '("Forecaster",)', '("Forecaster")', "CARD: needs='Forecaster' is no tuple[str, ...]"),
    ],
)
def test_a_fault_is_told_once_and_the_rest_goes_on(said, file: str, old: str, new: str, line: str) -> None:
    (listed, text), (dry, _), (run, words) = said(
        {file: (old, new)}, "list methods", "sweep quickstart --dry-run", "run forecasts/waves line --budget smoke"
    )
    told = [said for said in text.splitlines() if said.startswith("left out: ")]
    assert listed == dry == 0 and "mc-dropout" in text, text
    assert len(told) == 1 and told[0].startswith("left out: plug-in forecasts 1.0: ") and line in told[0]
    assert run == 2 and "error: " in words.splitlines()[-1] and "Traceback" not in words, words


def test_entry_points_that_cannot_be_read_are_left_out(said) -> None:
    first, second = said({POINTS: ("[elboard.kinds]", "[elboard.kinds]\nno equals sign")}, "list tasks", "run forecasts/waves line")
    assert first[0] == 0 and "left out: entry points of forecasts 1.0: they cannot be read" in first[1] and "Traceback" not in first[1]
    assert second[0] == 2 and "no task 'forecasts/waves'" in second[1]


def test_an_engine_that_cannot_be_loaded_is_one_line(said) -> None:
    (code, text), (other, words) = said(
        {POINTS: ("[elboard.kinds]", "[elboard.engines]\ncloud = forecasts.cloud:Cloud\n[elboard.kinds]")},
        "sweep quickstart --engine cloud",
        "sweep quickstart --engine clod",
    )
    assert code == other == 2 and "did you mean 'cloud'" in words
    assert "error: plug-in forecasts 1.0: cloud = forecasts.cloud:Cloud (elboard.engines): ModuleNotFoundError" in text
    assert len(text.splitlines()) == 1


def test_protocols_come_over_relative_imports_and_through_a_package(said) -> None:
    line = plugin_package.PACKAGE / "forecasts" / "line.py"
    text = line.read_text()
    changes = {
        "forecasts/__init__.py": ('"""', 'from forecasts.kind import Forecaster as Forecaster\n"""'),
        "forecasts/base.py": ("", text.replace("CARD = ", "OTHER = ").replace("from forecasts.kind", "from .kind")),
        "forecasts/middle.py": ("", "from . import base\n\n\nclass Middle(base.Line):\n    pass\n"),
        "forecasts/line.py": (text[text.index("class Line") :], "from .middle import Middle\n\n\nclass Line(Middle):\n    pass\n"),
        "forecasts/second.py": ("", text.replace('name="line"', 'name="second"').replace("from forecasts.kind", "from forecasts")),
        POINTS: ("forecasts = forecasts.line", "forecasts = forecasts.line\nsecond = forecasts.second"),
    }
    first, second, run = said(changes, "show line", "show second", "run forecasts/waves line --budget smoke")
    assert "offers: Forecaster" in first[1] and "offers: Forecaster" in second[1] and run[0] == 0, (first, second, run)


def test_a_metric_without_convention_fails_the_run_in_words(said) -> None:
    change = {"forecasts/waves.py": ('return {"wave_crps": crps(**observed)}', 'return {"wave_crps": 1.0, "sharp": 1.0}')}
    ((code, text),) = said(change, "run forecasts/waves line --budget smoke")
    assert code == 1 and "bug: ValueError: no metric 'sharp'" in text and "Traceback" not in text
