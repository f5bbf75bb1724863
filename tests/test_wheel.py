"""The wheel holds one package, and what a user's own folder is called makes no difference."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(words, check=True)
    return next(folder.glob("elboard-*.whl"))


def test_it_holds_one_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"elboard"}
    assert {"elboard/py.typed", "elboard/bench/card.py", "elboard/sweeps/quickstart.yaml", "elboard/tasks/data/datasets.yaml"} <= set(names)
    assert not any("__pycache__" in name or (name.endswith(".npz") and "records" in name) for name in names)


@pytest.mark.slow
def test_a_sweep_runs_from_a_folder_that_holds_everybodys_names(wheel: Path, tmp_path: Path) -> None:
    env, here = tmp_path / "env", tmp_path / "here"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    site = next((env / "lib").glob("python*")) / "site-packages"
    # The dependencies, but not what lies there in .pth files: an editable install of ELBOard itself.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    words = ["--python", str(env / "bin" / "python"), "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    for name in ("tasks", "methods", "sweeps", "results"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise RuntimeError('the user’s own')\n", encoding="utf-8")
    (here / "bench.py").write_text("raise RuntimeError('the user’s own')\n", encoding="utf-8")
    shutil.copytree(ROOT / "tests" / "plugins", here / "plugins")
    sweep = "budget: smoke\nseeds: 0-3\nruns: [{tasks: [test/blobs], methods: [test-linear]}, {tasks: [links/cora], methods: [gae]}]\n"
    (here / "mine.yaml").write_text(sweep, encoding="utf-8")
    command = [env / "bin" / "elboard", "sweep", "mine.yaml", "--jobs", "2", "--path", "plugins", "--out", "runs"]
    for start in (command, [env / "bin" / "python", "-m", "elboard", *command[1:]]):
        done = subprocess.run([str(word) for word in start], cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(file.read_text(encoding="utf-8")) for file in here.glob("runs/*/attempts/*.json")]
    assert len(found) == 8 and all(record["status"] == "done" for record in found)
