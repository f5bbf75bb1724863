"""Sweep files: patterns, ranges, exclusions, resources; planning is fast."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from elboard.bench.errors import UserError
from elboard.sweeps.files import grid_points, parse_time
from elboard.sweeps.plan import expand
from elboard.sweeps.work import Resources

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"range": [1, 4]}, [1, 2, 3, 4]),
        ({"range": [0.1, 0.3, 0.1]}, [0.1, 0.2, 0.30000000000000004]),
        ({"linspace": [0, 1, 5]}, [0, 0.25, 0.5, 0.75, 1]),
        ({"logspace": [1e-4, 1e-2, 3]}, [1e-4, 1e-3, 1e-2]),
        ([7, "a"], [7, "a"]),
    ],
)
def test_ranges(given: object, values: list) -> None:
    assert [point["k"] for point in grid_points({"k": given})] == values


@pytest.mark.parametrize(
    "given", [3, [], {"range": [1]}, {"logspace": [0, 1, 3]}, {"linspace": [0, 1, 1]}, {"range": [1, 2, 0]}, {"steps": [1, 2]}]
)
def test_bad_ranges(given: object) -> None:
    with pytest.raises(UserError, match="grid.k must be a list of values, or range, linspace or logspace"):
        grid_points({"k": given})


def test_patterns_take_the_pairs_that_fit(tmp_path: Path) -> None:
    text = "budget: smoke\nruns: [{tasks: ['generation/*', density/digits], methods: ['*vae', ppca]}]\n"
    pairs = {(spec.task, spec.method) for spec in expand(write(tmp_path, text)).runs}
    assert ("generation/mnist", "vae") in pairs and ("density/digits", "ppca") in pairs and ("generation/mnist-grey", "ppca") in pairs
    assert ("generation/mnist", "ppca") not in pairs and ("generation/mnist", "mult-vae") not in pairs, "they do not fit"
    with pytest.raises(UserError, match="no task matches 'gneration/"):
        expand(write(tmp_path, text.replace("generation", "gneration")))
    with pytest.raises(UserError, match="ppca cannot run on generation/mnist"):
        expand(write(tmp_path, "budget: smoke\nruns: [{tasks: [generation/mnist], methods: [ppca]}]\n"))


def test_a_recipe_lies_beneath_what_is_set(tmp_path: Path) -> None:
    def configs(**more: object) -> list[dict]:
        entry = {"tasks": ["noisy/digits-sym40"], "methods": ["ivon"], "budget": "smoke", "recipe": "thousand-wrong-labels", **more}
        return [spec.config["method"] for spec in expand({"name": "x", "runs": [entry]}).runs]

    ((config,), (other,)) = configs(), configs(set={"lr": 0.3})
    assert (config["h0"], config["lr"]) == (1.0, 0.1) and (other["h0"], other["lr"]) == (1.0, 0.3)
    with pytest.raises(UserError, match="x: ivon has no recipe 'thousand': did you mean"):
        configs(recipe="thousand")
    with pytest.raises(UserError, match="x: softmax has no recipe 'thousand-examples': it has none"):
        configs(recipe="thousand-examples", methods=["softmax"])


def test_the_command_line_wins_however_an_option_is_called() -> None:
    entry = {
        "tasks": ["noisy/digits-sym40"],
        "methods": ["ivon"],
        "budget": "smoke",
        "recipe": "thousand-examples",
        "set": {"method.h0": 2.0},
    }
    for overrides, h0 in ((None, 2.0), ({"h0": 3.0}, 3.0), ({"method.h0": 3.0}, 3.0)):
        (spec,) = expand({"name": "x", "runs": [entry]}, overrides).runs
        assert spec.config["method"]["h0"] == h0


def test_exclusions(tmp_path: Path) -> None:
    text = """
budget: smoke
runs:
  - tasks: [test/blobs]
    methods: [test-linear]
    grid: {lr: [0.1, 0.2], scale: [1.0, 2.0]}
    exclude: [{lr: 0.1, scale: 2.0}, {task: "test/*", lr: 0.2, scale: 1.0}]
"""
    points = [(spec.config["method"]["lr"], spec.config["method"]["scale"]) for spec in expand(write(tmp_path, text), paths=PLUGINS).runs]
    assert points == [(0.1, 1.0), (0.2, 2.0)]
    with pytest.raises(UserError, match="runs 1.exclude 1='lr' is no dict"):
        expand(write(tmp_path, text.replace('[{lr: 0.1, scale: 2.0}, {task: "test/*", lr: 0.2, scale: 1.0}]', "[lr]")), paths=PLUGINS)


def test_resources_of_the_method_count_before_those_of_the_task(tmp_path: Path) -> None:
    text = """
budget: smoke
resources:
  default: {cpus: 2, time: 1h30m}
  test/blobs: {memory: 4, cpus: 1}
  test-linear: {gpus: 0.5, memory: 8}
runs: [{tasks: [test/blobs], methods: [test-linear]}]
"""
    (need,) = expand(write(tmp_path, text), paths=PLUGINS).resources.values()
    assert need == Resources(cpus=1, gpus=0.5, memory=8, time=5400)
    for old, new, message in (
        ("test-linear: {g", "test-liner: {g", "resources.test-liner is no method or task of this sweep, did you mean 'test-linear'"),
        ("gpus", "gpu", "unknown field 'gpu', did you mean 'gpus'"),
        ("1h30m", "soon", "resources.default.time 'soon' is not of the form"),
    ):
        with pytest.raises(UserError, match=message):
            expand(write(tmp_path, text.replace(old, new, 1)), paths=PLUGINS)


@pytest.mark.parametrize(("given", "seconds"), [(90, 90), ("45s", 45), ("30m", 1800), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400)])
def test_times(given: object, seconds: float) -> None:
    assert parse_time(given) == seconds


def test_every_run_of_a_large_sweep_has_its_own_key(tmp_path: Path) -> None:
    text = """
budget: smoke
seeds: 0-49
runs: [{tasks: [test/blobs], methods: [test-linear], grid: {lr: {logspace: [1e-4, 1e-1, 40]}, scale: [1.0, 2.0]}}]
"""
    start = time.process_time()
    runs = expand(write(tmp_path, text), paths=PLUGINS).runs
    assert len({spec.key for spec in runs}) == 4000
    assert time.process_time() - start < 20, "the speed itself is measured in tests/speed; this is for what is quadratic"
