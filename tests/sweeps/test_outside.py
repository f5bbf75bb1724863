"""Methods and tasks outside the package, by ``--path``, by ``path:`` of a sweep's file, and by ``ELBOARD_PATH``; commands that are printed
work as they are."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from elboard.bench.cli import main
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.registry import find
from elboard.bench.run import load_trained
from elboard.bench.runs import Runs
from elboard.sweeps.named import find as find_sweep
from elboard.sweeps.plan import expand, load, plan_of

PLUGINS = Path(__file__).parents[1] / "plugins"
SWEEP = "budget: smoke\nseeds: 0-1\n{path}runs:\n  - {{tasks: [{task}], methods: [test-linear]}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(PLUGINS, tmp_path / "of mine")
    return tmp_path / "of mine"


@pytest.mark.parametrize("task", ["test/blobs", "test/*"])
def test_a_sweep_beside_what_it_needs_is_told_of_path(task: str, folder: Path) -> None:
    (folder / "s.yaml").write_text(SWEEP.format(path="", task=task))
    with pytest.raises(UserError) as caught:
        expand(folder / "s.yaml")
    assert str(caught.value) == f"{folder}/s.yaml: no task '{task}' without `--path '{folder}'`, or `path: .` in the file"
    assert len(expand(folder / "s.yaml", paths=(str(folder),)).runs) == 2
    (folder.parent / "s.yaml").write_text(SWEEP.format(path="", task="test/blobs"))
    with pytest.raises(UserError, match=r"s.yaml: no task 'test/blobs': .*\(what lies outside the package needs --path FOLDER"):
        expand(folder.parent / "s.yaml")


def test_a_sweep_may_say_where_its_methods_lie(folder: Path, home: Path, capsys: pytest.CaptureFixture) -> None:
    for path in ("path: of mine\n", "path: [of mine/blobs.py, of mine/linear.py]\n"):
        (folder.parent / "s.yaml").write_text(SWEEP.format(path=path, task="test/blobs"))
        sweep = expand(folder.parent / "s.yaml")
        assert len(sweep.runs) == 2 and sweep.runs[0].paths == sweep.paths
    assert load(plan_of(sweep, home).save()).paths == sweep.paths
    assert main(["sweep", str(folder.parent / "s.yaml"), "--jobs", "1"]) == 0
    assert "test/blobs v" in capsys.readouterr().out, "its board is printed"
    (folder.parent / "s.yaml").write_text(SWEEP.format(path="path: 3\n", task="test/blobs"))
    with pytest.raises(UserError, match="path 1=3 is no str"):
        expand(folder.parent / "s.yaml")


def test_a_variable_serves_all_commands(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="ELBOARD_PATH"):
        find("method", "test-linear")
    monkeypatch.setenv("ELBOARD_PATH", f"{folder}/blobs.py::{folder}/linear.py")
    assert find("method", "test-linear").file == folder / "linear.py"
    assert set(resolve("test/blobs", "test-linear", budget="smoke").paths) == {f"{folder}/blobs.py", f"{folder}/linear.py"}
    for words in (
        ["run", "test/blobs", "test-linear", "--budget", "smoke"],
        ["leaderboard", "test/blobs"],
        ["show", "test/blobs"],
        ["verify", "--no-shipped"],
    ):
        assert main(words) == 0 and "test" in capsys.readouterr().out
    monkeypatch.delenv("ELBOARD_PATH")
    assert main(["show", "test/blobs"]) == 2


def test_a_file_of_any_name_is_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("todo", "quickstart"):
        (tmp_path / name).write_text("")
    assert find_sweep("todo") == Path("todo") and find_sweep("quickstart").parent.name == "sweeps"
    with pytest.raises(UserError, match="no sweep 'tood'"):
        find_sweep("tood")


def _printed(said: str) -> list[str]:
    program, *words = shlex.split(re.search(r"elboard [^`\n]*", said)[0])
    return words


def test_what_is_printed_as_a_command_works(folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELBOARD_HOME", raising=False)
    monkeypatch.chdir(folder.parent)
    words = ["--path", "of mine", "--out", "my runs"]
    run = ["run", "test/blobs", "test-linear", "--budget", "smoke"]
    assert main([*run, "explode_at=0", *words]) == 1
    assert main(_printed(capsys.readouterr().err)) == 0 and "NonFiniteLoss" in capsys.readouterr().out
    for options in ([], ["scale=0.98"]):
        assert main([*run, *options, "--seeds", "0-2", *words]) == 0
    asked = ["power", "test-linear", "test-linear (scale=0.98)", "test/blobs", "--metric", "class_nll", "--budget", "smoke"]
    monkeypatch.setattr("elboard.results.stats.needed", lambda *_: SimpleNamespace(extra_seeds=2, total=5))
    assert main([*asked, "--queue", "more seeds", *words]) == 0
    then = _printed(capsys.readouterr().out.rpartition("run it with")[2])
    assert main([*then, "--dry-run"]) == 0 and "to run" in capsys.readouterr().out
    assert main([*asked, "--queue", "-.yaml", *words]) == 2 and "is no name" in capsys.readouterr().err


def test_missing_weights_say_how_to_make_them(home: Path, capsys: pytest.CaptureFixture) -> None:
    spec = resolve("test/blobs", "test-linear", seed=3, budget="smoke", overrides={"lr": 0.2, "train.epochs": 1}, paths=(str(PLUGINS),))
    with pytest.raises(UserError) as caught:
        load_trained(spec, home)
    assert main(_printed(str(caught.value).removesuffix("` first"))) == 0
    assert Runs(home).weights(spec).exists() and load_trained(spec, home)


def test_archive_takes_a_beginning(home: Path, capsys: pytest.CaptureFixture) -> None:
    spec = resolve("test/blobs", "test-linear", budget="smoke", paths=(str(PLUGINS),))
    assert main(["run", "test/blobs", "test-linear", "--budget", "smoke", "--path", str(PLUGINS)]) == 0
    assert main(["archive", spec.key[:5]]) == 0 and (home / "archive" / spec.key).is_dir()


def test_a_backbone_of_images_on_other_data_says_what_to_set() -> None:
    from elboard.methods.parts.networks import backbone

    for name in ("cnn", "resnet20"):
        with pytest.raises(ValueError, match=rf"backbone={name} takes .*, not \(13,\): set backbone=mlp"):
            backbone(name, (13,))
    assert backbone("mlp", (13,)).n_features == 128
