"""Methods side by side on several tasks: which parts there are, what is left out of them and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from elboard.bench.cli import main
from elboard.results.board.across import Across, complete, gather, left_out
from elboard.results.board.build import Board, Choice, boards
from elboard.results.store import groups


@pytest.fixture(scope="module")
def shipped() -> list[Board]:
    return boards(groups(None))


@pytest.fixture(scope="module")
def across(shipped: list[Board]) -> Across:
    return gather(shipped, "lite", least=1)


def test_a_part_has_every_method_that_stands_on_its_tasks(across: Across) -> None:
    parts, on = complete(across), {label: {*across.on(label)} for label in across.methods}
    assert len({part.tasks for part in parts}) == len(parts) > 5
    for part in parts:
        assert part.there.all() and len(part.tasks) >= 2 and len(part.methods) >= 2
        assert set(part.methods) == {label for label, tasks in on.items() if tasks >= {*part.tasks}}
    by_tasks = {part.tasks: part.methods for part in parts}
    assert {"energy", "vae", "vbll"} <= {*by_tasks["ood/digits", "ood/fashion-mnist", "ood/mnist"]}, "also those that have other tasks too"


def test_what_is_in_no_part_is_named_with_the_reason(shipped: list[Board], across: Across) -> None:
    parts = complete(across)
    rest = left_out(shipped, "lite", across, parts)
    assert {*rest} == {row.label for board in shipped for row in board.rows} - {label for part in parts for label in part.methods}
    oracles = {row.label for board in shipped for row in board.rows if row.oracle}
    assert all(rest.pop(label) == "an oracle" for label in oracles)
    for label, reason in rest.items():
        on = across.on(label)
        assert reason == (f"on {on[0]} alone" if len(on) == 1 else f"no other method on all of {', '.join(on)}"), label
    assert len({*rest.values()}) > 5
    elsewhere = left_out(shipped, "full", gather(shipped, "full", least=1), [])
    assert {*elsewhere.values()} - {"an oracle"} == {"at budget lite alone"}


@pytest.mark.parametrize("methods", [("iwae", "vae"), ("vae", "softmax"), ("ppca", "iwae", "infovae"), ("ivon", "mc-dropout")])
def test_chosen_methods_are_compared_on_what_all_of_them_have(shipped: list[Board], across: Across, methods: tuple[str, ...]) -> None:
    (part,) = complete(across, methods)
    on = [{*across.on(label)} for label in methods]
    assert {*part.methods} == {*methods} and {*part.tasks} == set.intersection(*on)
    rest = left_out(shipped, "lite", across, [part], methods)
    assert {*rest} == set.union(*on) - {*part.tasks}
    assert all(reason == f"no {', '.join(label for label in methods if task not in across.on(label))}" for task, reason in rest.items())


def test_chosen_tasks_take_the_methods_that_stand_on_all_of_them(shipped: list[Board], across: Across) -> None:
    tasks = ("ood/digits", "ood/mnist")
    (part,) = complete(across, tasks=tasks)
    assert part.tasks == tasks and {*part.methods} == {label for label in across.methods if {*across.on(label)} >= {*tasks}}
    rest = left_out(shipped, "lite", across, [part], tasks=tasks)
    assert rest.items() >= {"ivon (h0=1.0)": "not on ood/mnist", "vra (alpha_quantile=0.0)": "not on ood/digits"}.items()
    (both,) = complete(across, ("vae", "energy", "vra (alpha_quantile=0.0)"), tasks)
    assert both.methods == ("energy", "vae") and both.tasks == tasks
    assert left_out(shipped, "lite", across, [both], ("vae", "energy", "vra (alpha_quantile=0.0)"), tasks) == {
        "vra (alpha_quantile=0.0)": "not on ood/digits"
    }


def test_another_metric_is_taken_where_it_is(across: Across) -> None:
    found = boards(groups(None), choice=Choice(metrics=("ece",), sort="ece"))
    other = gather(found, "lite", "ece", least=1)
    assert {*other.metrics} == {"ece"} and not other.higher.any() and "generation/mnist" not in other.tasks
    (board,) = [board for board in found if board.task == "ood/mnist"]
    row = next(row for row in board.rows if row.label == "ivon")
    values = other.values[other.methods.index("ivon"), other.tasks.index("ood/mnist")]
    assert values[~np.isnan(values)].tolist() == [row.values["ece"][seed] for seed in sorted(row.seeds)]
    assert left_out(found, "lite", other, complete(other))["hvae"] == "no value to compare"
    assert across.metrics[across.tasks.index("ood/mnist")] == "auroc/mean"


def test_the_command_takes_any_common_subset(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--method", "iwae", "--method", "vae", "--task", "ood/*", "--metric", "auroc/near"]) == 0
    said = capsys.readouterr().out
    assert "on ood/digits (auroc/near)" in said and "\niwae " in said and "left out" not in said
    assert main(["compare", "links", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left_out"] == {} and found["tables"][0]["metrics"] == ["auc", "auc"]
    assert main(["compare", "generation"]) == 0
    said = capsys.readouterr().out
    assert "\nleft out\n  on generation/" in said and re.search(
        r"\n  on generation/mnist alone: (\S.*; )?hvae; (\S.*; )?iwae \(k=5\); ", said
    )
    for words, message in [
        (["--task", "ood/mnsit"], "no task 'ood/mnsit' to compare: did you mean 'ood/mnist'"),
        (["--task", "ood/mnist"], "ood/mnist alone: compare needs two tasks; `elboard leaderboard ood/mnist` compares on one"),
        (["--method", "iwaee"], "no method 'iwaee' to compare: did you mean 'iwae'"),
        (["--method", "iwae"], "iwae alone: compare needs two methods"),
        (["--method", "gae", "--task", "ood/*"], "no method 'gae' to compare"),
        (
            ["--method", "iwae", "--method", "gae"],
            "of these at budget lite; no gae: density/digits; generation/digits; generation/mnist; ...; no iwae",
        ),
        (["--metric", "kl/mean"], "metric 'kl/mean' has no direction to sort by"),
        (["--metric", "eec"], "no metric 'eec': did you mean 'ece'"),
        (["--budget", "lit"], "no budget 'lit': did you mean 'lite'"),
    ]:
        assert main(["compare", *words]) == 2
        out, err = capsys.readouterr()
        assert message in err and err.count("\n") == 1 and not out


def test_power_asks_for_no_direction(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Claims compare metrics, too, of which neither more nor less is better; nothing is sorted by them."""
    monkeypatch.chdir(tmp_path)
    asked, key = ["power", "vbll-regression", "mle-regression", "regression/gap"], "variance_growth/between"
    found = [group for group in groups(None) if group.task == "regression/gap" and not group.identity.get("options")]
    left, right = (next(group.metrics[key] for group in found if group.method == name) for name in asked[1:3])
    assert main([*asked, "--metric", key]) == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == f"regression/gap, lite, {key}: vbll-regression (n = {len(left)}) - mle-regression (n = {len(right)})"
    assert second.startswith(f"difference {(left - right).mean():.4g} [")
    assert main(asked) == 0 and key not in capsys.readouterr().out
