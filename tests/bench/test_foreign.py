"""Runs of anybody's code: what it raises, prints and returns costs the run alone, and what was edited is other code."""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elboard.bench import record as records
from elboard.bench.cli import main
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.registry import find
from elboard.bench.run import execute

PLUGINS = Path(__file__).parents[1] / "plugins"
METHOD, TASK = ((PLUGINS / f"{name}.py").read_text() for name in ("linear", "blobs"))
MEASURE = '        return classification_metrics(observed["p"], observed["y"])\n'
LOSS = '        loss = F.cross_entropy(self.head(batch["x"]) * self.config.scale, batch["y"])\n'


def write(folder: Path, method: str = METHOD, task: str = TASK) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "method.py").write_text(method, encoding="utf-8")
    (folder / "task.py").write_text(task, encoding="utf-8")
    return folder


def run(folder: Path, *words: str) -> int:
    return main(["run", "test/blobs", "test-linear", "--budget", "smoke", *places(folder), "train.epochs=1", *words])


def places(folder: Path) -> list[str]:
    return ["--path", str(folder), "--out", str(folder / "runs")]


def failures(folder: Path) -> list[dict]:
    return [records.read(file).failure for file in (folder / "runs").glob("*/attempts/*.json")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit(3)", "ImportError: method.py exits when it is imported (3)"),
    ],
)
def test_an_import_error_is_the_same_the_second_time(line: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, METHOD.replace("CARD = ", f"{line}\nCARD = "))
    assert run(tmp_path, "--seeds", "0-1") == 1
    assert [(of["class"], of["message"].split(" (method.py")[0]) for of in failures(tmp_path)] == [("bug", said)] * 2


@pytest.mark.parametrize("code", ["sys.exit(0)", "sys.exit('enough')", "class Own(BaseException): pass\n        raise Own('x')"])
def test_an_exit_in_anybodys_code_is_a_failed_run_and_no_ctrl_c(code: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path, METHOD.replace("import time\n", "import sys\nimport time\n").replace(LOSS, f"        {code}\n{LOSS}"))
    assert run(tmp_path, "--seeds", "0-1") == 1
    assert [of["class"] for of in failures(tmp_path)] == ["bug"] * 2 and "stopped" not in capsys.readouterr().err


def test_ctrl_c_within_training_still_stops(tmp_path: Path) -> None:
    write(tmp_path, METHOD.replace(LOSS, "        raise KeyboardInterrupt\n"))
    assert run(tmp_path, "--seeds", "0-1") == 130
    assert [of["class"] for of in failures(tmp_path)] == ["killed"]


def test_what_is_printed_does_not_spoil_json(tmp_path: Path) -> None:
    method = METHOD.replace("import time\n", 'import os, subprocess, time\nprint("at import")\nsubprocess.run(["echo", "by another"])\n')
    method = method.replace(LOSS, f'        print("in loss"); os.write(1, b"to 1")\n{LOSS}')
    write(tmp_path, method, TASK.replace(MEASURE, f'        print("measured")\n{MEASURE}'))
    for jobs in "12":
        words = [
            "run",
            "test/blobs",
            "test-linear",
            "--budget",
            "smoke",
            "--path",
            str(tmp_path),
            "--json",
            "--seeds",
            "0-1",
            "--jobs",
            jobs,
        ]
        command = [sys.executable, "-m", "elboard", *words, "--out", str(tmp_path / f"runs{jobs}")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["done"] * 2
        assert all(word in done.stderr for word in ("at import", "by another", "in loss", "to 1", "measured"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (MEASURE, '        return {"accuracy": 1.5, "class_nll": 1.0}\n', "metric accuracy is 1.5, outside its range"),
        (MEASURE, '        return {"accuracy": 0.5, "sharp": 1.0}\n', "no metric 'sharp'"),
        (MEASURE, '        return {"accuracy": 0.5, "Two Words": 1.0}\n', "metric key 'Two Words' is not of the form"),
        (MEASURE, '        return {"class_nll": 0.5}\n', "the task's primary metric 'accuracy' is 0 times among its metrics"),
        (MEASURE, '        return {"accuracy": "0.5x"}\n', "could not convert string to float"),
        ('{"probabilities":', '{"../up":', "picture '../up' has no name of letters"),
        (
            '"y": test["y"].numpy()}, {',
            '"y": test["y"].numpy(), "note": np.array(["x"])}, {',
            "evidence 'note' is of type <U1, not",
        ),
    ],
)
def test_results_that_no_record_takes_fail_once_before_anything_is_written(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in TASK
    write(tmp_path, task=TASK.replace(old, new))
    assert run(tmp_path, "--jobs", "2") == 1
    (failure,) = failures(tmp_path)
    assert failure["class"] == "bug" and said in failure["message"]
    assert not list((tmp_path / "runs").glob("*/evidence")) and not list((tmp_path / "runs").glob("*/pictures"))


def test_checksums_that_raise_hide_no_result(tmp_path: Path) -> None:
    checksums = "    @classmethod\n    def checksums(cls):\n        raise ValueError\n\n    def load_train(self)"
    write(tmp_path, task=TASK.replace("    def load_train(self)", checksums))
    assert main(["run", "test/blobs", "test-linear", "--budget", "lite", *places(tmp_path), "train.epochs=1"]) == 0
    (file,) = (tmp_path / "runs").glob("*/attempts/*.json")
    assert records.read(file).provenance["data"] == {"error": "ValueError"}


@pytest.mark.parametrize("field", ["selection", "primary"])
def test_a_card_that_names_no_metric_is_refused_before_anything_is_run(field: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path, task=TASK.replace(f'{field}="accuracy"', f'{field}="acuracy"'))
    assert run(tmp_path) == 1
    assert f"task.py: CARD: {field}: no metric 'acuracy': did you mean 'accuracy'" in capsys.readouterr().err and not failures(tmp_path)


def test_options_that_no_record_takes_are_refused_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path, METHOD.replace("        lr: float", '        label: str = ""\n        lr: float'))
    assert run(tmp_path, f"label={'x' * 1001}") == 2
    said = capsys.readouterr().err
    assert "spec.config.method.'label' is 'xxx" in said and len(said.splitlines()) == 1 and not (tmp_path / "runs").exists()


def test_another_file_with_the_same_card_gives_its_own_numbers(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name) for name in "ab")
    (other / "method.py").write_text(METHOD.replace("(1)[None]", "(1)[None] * 0 + 1 / 3"), encoding="utf-8")
    found = []
    for folder in (one, other, one):
        spec = resolve("test/blobs", "test-linear", budget="smoke", paths=(str(folder),))
        found.append((spec.key, execute(spec, tmp_path / "runs").metrics["class_nll"]))
    assert found[0] == found[2] and found[0][0] != found[1][0] and found[1][1] == pytest.approx(1.0986, abs=1e-4)


def test_a_file_edited_after_its_run_was_named_is_not_run_under_the_old_key(tmp_path: Path) -> None:
    write(tmp_path)
    spec = resolve("test/blobs", "test-linear", budget="smoke", paths=(str(tmp_path),))
    (tmp_path / "method.py").write_text(METHOD.replace("(1)[None]", "(1)[None] * 0 + 1 / 3"), encoding="utf-8")
    with pytest.raises(UserError, match=r"method.py: it, or what it imports, was edited since the run was named"):
        execute(spec, tmp_path / "runs")
    assert not failures(tmp_path)


def test_bytecode_beside_a_file_is_not_run_in_its_place(tmp_path: Path) -> None:
    """Of an edit within the same second that keeps the length, Python would run what was there before."""
    file = tmp_path / "method.py"
    file.write_text(METHOD.replace("(1)[None]", "(1)[None]+1"))
    times = file.stat()
    py_compile.compile(str(file))
    write(tmp_path, METHOD.replace("(1)[None]", "(1)[None]+2"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    cls = find("method", "test-linear", (tmp_path,)).load()
    predicted = cls(cls.Config(), ClassSpec((3,), 9, n_classes=3)).predict(torch.zeros(1, 3))
    assert float(predicted.detach().sum()) == pytest.approx(7.0)
