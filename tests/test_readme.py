"""The README's examples: extracted and run."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import elboard
from elboard.bench import options
from elboard.bench.cli import main
from elboard.bench.document import read_file
from elboard.sweeps.named import find
from elboard.sweeps.plan import expand

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = [line.split("#")[0].split() for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()]


def test_there_are_a_method_and_a_task_of_under_40_lines() -> None:
    assert len(EXAMPLES) == 2
    for text in EXAMPLES.values():
        assert len(text.splitlines()) < 40


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_example_runs(name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text(EXAMPLES[name])
    monkeypatch.chdir(tmp_path)
    (command,) = [words for words in COMMANDS if "--path" in words and name in words]
    assert main([*command[1:], "--budget", "smoke", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == "done" and record["primary"] in record["metrics"]


def test_the_notebook_runs(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    if importlib.util.find_spec("pandas") is None:
        monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    (text,) = re.findall(r"<!-- notebook -->\n```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names: dict = {}
    exec(text, names)  # the README's own
    assert names["record"].status == "done" and len(names["pictures"]) == 16 and len(names["board"]) and len(names["runs"]) >= 5


def test_it_names_all_that_options_may_be_declared_as_and_those_of_every_method() -> None:
    from elboard import Method

    said = TEXT.split("## Adding a method")[1].split("## Adding a task")[0]
    for name in (*options.NAMED, *options.BOUNDS, *options.SCALARS, *Method.Config.__dataclass_fields__):
        assert re.search(rf"`(Annotated\[\w+, )?{name}\b", said), name
    for name in (*options.NAMED, *options.BOUNDS):
        assert getattr(elboard, name) is getattr(options, name)


def test_what_stands_beside_it_is_of_this_version() -> None:
    root = Path(__file__).parents[1]
    assert read_file(root / "CITATION.cff")["version"] == elboard.__version__
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, flags=re.MULTILINE)[1] == elboard.__version__
    for target in re.findall(r"\]\((?!http)([^)#]+)", (root / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        assert (root / target).exists(), target


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[:2] == ["elboard", "run"] and "--path" not in w], ids=" ".join)
def test_run_commands_resolve(words: list[str]) -> None:
    from elboard.bench.config import parse_overrides, resolve

    given = [word for word in words[4:] if "=" in word and not word.startswith("--")]
    assert resolve(words[2], words[3], overrides=parse_overrides(given)).key


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (Path(__file__).parents[1] / target).exists(), target


def test_the_demo_is_of_the_runs_of_its_sweep() -> None:
    demo, runs = TEXT.split("<!-- demo -->")[1].split("<!-- /demo -->")[0], expand(find("quickstart")).runs
    for spec in runs:
        board = demo.split(f"\n{spec.task} ")[1].split("mean over")[0]
        assert f" {spec.method} " in board, spec.label
    assert set(re.findall(r"runs/([0-9a-f]{16})/", demo)) <= {spec.key for spec in runs}
