"""What is wrong in a sweep file is told in one line with the file and the key, in a dry run as before a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from elboard.bench.cli import main

PLUGINS = str(Path(__file__).parents[1] / "plugins")
TEXT = """name: mine
budget: smoke
seeds: 0-1
set: {train.epochs: 2}
resources:
  default: {cpus: 1, gpus: 0, memory: 1, time: 30m}
runs:
  - tasks: [test/blobs]
    methods: [test-linear]
    grid: {lr: [0.1, 0.2]}
    exclude: [{lr: 0.3}]
"""
SEARCH = "    search: {sampler: random, trials: 2, space: {scale: {float: [1, 2]}}}\n"
CASES = [
    ("set: {train.epochs: 2}", "set:", "set=None is no dict"),
    ("set: {train.epochs: 2}", "set: [train.epochs]", "set=['train.epochs'] is no dict"),
    ("set: {train.epochs: 2}", "set: {1: 2}", "set: 1 is no text"),
    ("set: {train.epochs: 2}", "set: {train.epochs: 2}\nset: {lr: 0.1}", "line 5: key 'set' twice"),
    ("set: {train.epochs: 2}", "set: &a {train.epochs: *a}", "an anchor that contains itself"),
    ("set: {train.epochs: 2}", "set: {schedule: cosin}", "schedule='cosin': did you mean 'cosine'?"),
    ("set: {train.epochs: 2}", "set: {warmup: 2}", "warmup=2 is not in [0, 1]"),
    ("set: {train.epochs: 2}", "set: {trainer.threads: 010}", "line 4: 010 begins with a zero: write 10, or quote it"),
    ("set: {train.epochs: 2}", "set: {wandb.mode: off}", "wandb.mode='off': did you mean 'offline'?"),
    ("budget: smoke", "budget:", "budget None: known: full, lite, smoke"),
    ("budget: smoke", "budget: smok", "budget 'smok': did you mean 'smoke'?"),
    ("budget: smoke", "budget: [smoke]", "budget ['smoke']: "),
    ("seeds: 0-1", "seeds:", "seeds None are not of the form"),
    ("seeds: 0-1", "seeds: -1", "seeds -1 are not of the form"),
    ("seeds: 0-1", "seeds: {a: 1}", "are not of the form"),
    ("seeds: 0-1", "seeds: []", "seeds [] are empty"),
    ("seeds: 0-1", "seeds: 0-9999999999", "at most 100,000"),
    ("name: mine", "name: ../../../escape", "name='../../../escape' is no name"),
    ("name: mine", "name: /tmp/x", "name='/tmp/x' is no name"),
    ("name: mine", "name: ..", "name='..' is no name"),
    ("name: mine", f"name: {'x' * 101}", "at most 100 bytes"),
    ("name: mine", "name: [a]", "name=['a'] is no str"),
    ("name: mine", "name:", "name=None is no str"),
    ("name: mine", "name: mine\ndescription: [a]", "description=['a'] is no str"),
    ("cpus: 1", "cpus: two", "resources.default.cpus='two' is no int"),
    ("cpus: 1", "cpus: -1", "resources.default.cpus=-1 is not at least 0"),
    ("cpus: 1", "cpus: 1.5", "resources.default.cpus=1.5 is no int"),
    ("gpus: 0", 'gpus: "0"', "resources.default.gpus='0' is no int or float"),
    ("gpus: 0", "gpus: -1", "resources.default.gpus=-1 is not at least 0"),
    ("memory: 1", "memory: 16G", "resources.default.memory='16G' is no int or float"),
    ("memory: 1", "memory: .inf", "resources.default.memory=inf is not at least 0"),
    ("memory: 1", "memory: .nan", "resources.default.memory=nan is not at least 0"),
    ("time: 30m", "time: -5", "resources.default.time -5 is not of the form"),
    ("time: 30m", "time: .inf", "resources.default.time inf is not of the form"),
    ("default: {", "default: 3 #", "resources.default=3 is no dict"),
    ("default: {", "defalt: {", "resources.defalt is no method or task of this sweep, did you mean 'default'"),
    ("[test/blobs]", "[1]", "runs 1.tasks 1=1 is no str"),
    ("[test/blobs]", "[]", "runs 1.tasks: there are none"),
    ("[test/blobs]", "[test/blob]", "no task 'test/blob': did you mean 'test/blobs'"),
    ("[test-linear]", "[[test-linear]]", "runs 1.methods 1=['test-linear'] is no str"),
    ("[test-linear]", "[null]", "runs 1.methods 1=None is no str"),
    ("grid: {lr: [0.1, 0.2]}", "grid: [lr]", "runs 1.grid=['lr'] is no dict"),
    ("grid: {lr: [0.1, 0.2]}", "grid:", "runs 1.grid=None is no dict"),
    ("grid: {lr: [0.1, 0.2]}", "grid: {lr: {range: [1, .inf]}}", "runs 1.grid.lr must be a list of values"),
    ("grid: {lr: [0.1, 0.2]}", "grid: {lr: {linspace: [0, 1, 1000000000]}}", "runs 1.grid.lr must be a list of values"),
    ("grid: {lr: [0.1, 0.2]}", "grid: {lr: {range: [2, 1]}}", "runs 1.grid.lr must be a list of values"),
    ("grid: {lr: [0.1, 0.2]}", "grid: {lr: [[1]]}", "lr=[1] is no float"),
    ("exclude: [{lr: 0.3}]", "exclude: {lr: 0.3}", "runs 1.exclude={'lr': 0.3} is no list"),
    ("exclude: [{lr: 0.3}]", "exclude: [{method: [a]}]", "runs 1.exclude 1.method=['a'] is no str"),
    ("exclude: [{lr: 0.3}]", "recipe: [a]", "runs 1.recipe=['a'] is no str"),
    ("exclude: [{lr: 0.3}]", "search: 3", "runs 1.search=3 is no dict"),
    ("exclude: [{lr: 0.3}]", "search: {1: 3}", "runs 1.search: 1 is no text"),
    (SEARCH, SEARCH.replace("trials: 2", "trials: two"), "search.trials='two' is not a whole number"),
    (SEARCH, SEARCH.replace("random", "[random]"), "no search.sampler ['random']"),
    (SEARCH, SEARCH.replace("scale: {", "1: {"), "search.space: 1 is no option"),
    (SEARCH, SEARCH.replace("scale: {float: [1, 2]}", "warmup: {float: [0, 2]}"), "warmup=2.0 is not in [0, 1]"),
    (TEXT, "runs: 3", "runs=3 is no list"),
    ("runs:", "runz:", "unknown field 'runz', did you mean 'runs'"),
    ("    methods: [test-linear]\n", "", "runs 1: needs 'methods'"),
    (TEXT, "- a", "the file=['a'] is no dict"),
    (TEXT, "", "the file=None is no dict"),
    (TEXT, "runs: []", "runs: there are none"),
    (TEXT, "runs: [3]", "runs 1=3 is no dict"),
]


@pytest.mark.parametrize(("old", "new", "message"), CASES)
def test_one_line_names_file_and_key(old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = TEXT + SEARCH if old == SEARCH else TEXT
    assert old in text
    _refused(text.replace(old, new, 1).encode(), message, tmp_path, capsys)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (TEXT.encode("utf-16"), "is not UTF-8"),
        (TEXT.replace("mine", "möbius").encode("latin1"), "is not UTF-8"),
        (b"\0" + TEXT.encode(), "not valid YAML"),
    ],
)
def test_other_encodings(given: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _refused(given, message, tmp_path, capsys)


def _refused(given: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "s.yaml").write_bytes(given)
    for words in (["--dry-run"], []):
        assert main(["sweep", str(tmp_path / "s.yaml"), "--path", PLUGINS, "--out", str(tmp_path / "deep" / "out"), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{tmp_path / 's.yaml'}: " in line and message in line
    assert [file.name for file in tmp_path.iterdir()] == ["s.yaml"], "nothing was written"


def test_a_file_whose_name_is_too_long(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / f"{'x' * 101}.yaml"
    file.write_text(TEXT.replace("name: mine\n", ""))
    assert main(["sweep", str(file), "--dry-run", "--path", PLUGINS]) == 2
    assert "at most 100 bytes" in capsys.readouterr().err
    file.write_text(TEXT)
    assert main(["sweep", str(file), "--dry-run", "--path", PLUGINS, "--out", str(tmp_path)]) == 0


def test_the_file_as_it_is_passes(tmp_path: Path) -> None:
    for text in (TEXT, TEXT + SEARCH, "\ufeff" + TEXT):
        (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
        assert main(["sweep", str(tmp_path / "s.yaml"), "--dry-run", "--path", PLUGINS, "--out", str(tmp_path)]) == 0
