"""The command line: output, messages, exit codes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from elboard.bench.cli import entry, main
from elboard.sweeps.engines.serial import interrupts

PLUGINS = str(Path(__file__).parents[1] / "plugins")
RUN = ["run", "test/blobs", "test-linear", "--budget", "smoke", "--path", PLUGINS]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "method"], "cannot list 'method': did you mean 'methods'?"),
        (["show", "vaee"], "no method or task 'vaee': did you mean"),
        (["run", "test/blob", "test-linear", "--path", PLUGINS], "no task 'test/blob': did you mean 'test/blobs'"),
        ([*RUN, "lrr=1"], "no option 'lrr', did you mean 'lr'?"),
        ([*RUN, "lr"], "'lr' is not of the form key=value"),
        ([*RUN, "--seed", "0", "--seeds", "0-1"], "give --seed or --seeds, not both"),
        ([*RUN, "--seed=-1"], "seed -1 is not a whole number from 0"),
        ([*RUN, "--tracker", "wandbb"], "no tracker 'wandbb': did you mean 'wandb'"),
        ([*RUN, "--jobs", "0"], "--jobs 0: at least 1"),
        ([*RUN, "--recipe", "wid"], "test-linear has no recipe 'wid': did you mean 'wide'?"),
        (["sweep", "quikstart"], "no sweep 'quikstart': did you mean 'quickstart'"),
        (["leaderboard", "generatoin"], "no task or family 'generatoin': did you mean 'generation'"),
        (["leaderboard", "--format", "tex"], "no format 'tex': did you mean 'latex'"),
        (["power", "test-linear", "test-linear", "test/blob", "--path", PLUGINS], "no task 'test/blob': did you mean 'test/blobs'"),
        (["power", "msp", "energy", "ood"], "no task 'ood'"),
        (["power", "msp", "energy", "ood/mnist", "--budget", ""], "no budget ''"),
        (["power", "msp", "energy", "ood/mnist", "--metric", "aurocc"], "no metric 'aurocc': did you mean 'auroc'"),
        (["data", "fetch", "mnits"], "no data set 'mnits': did you mean 'mnist'"),
        (["why", "zzzz"], "no run 'zzzz'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["run", "x"], "Missing argument"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(words: list[str], message: str, home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and not out
    assert not home.exists()


def test_run_twice(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([*RUN, "--seeds", "0-1", "--json"]) == 0
    first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["spec"]["seed"] for record in first] == [0, 1] and {record["state"] for record in first} == {"done"}
    assert main([*RUN, "--seeds", "0-1", "--json"]) == 0
    second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["state"] for record in second} == {"present"}
    assert [record["attempt"] for record in first] == [record["attempt"] for record in second]
    assert main([*RUN, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["attempt"] != first[0]["attempt"]


def test_a_recipe_is_its_options(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([*RUN, "--recipe", "wide", "--json"]) == 0
    recipe = json.loads(capsys.readouterr().out)
    assert recipe["spec"]["config"]["method"]["scale"] == 2.0
    assert main([*RUN, "scale=2.0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == recipe["key"], "the same run as with the options themselves"
    assert main([*RUN, "--recipe", "wide", "scale=3.0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["config"]["method"]["scale"] == 3.0, "what is given wins"
    assert main(["leaderboard", "test/blobs", "--format", "json", "--path", PLUGINS]) == 0
    assert {row["options"] for row in json.loads(capsys.readouterr().out)} == {"recipe wide", "as set"}


def test_a_failed_run_gives_exit_code_1(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([*RUN, "explode_at=0"]) == 1
    said = capsys.readouterr().err
    assert "failed: test-linear on test/blobs, seed 0: nan: NonFiniteLoss: loss is nan in epoch 0\n  log: elboard logs " in said
    assert main(said.split("log: elboard ")[1].split()) == 0 and "NonFiniteLoss" in capsys.readouterr().out


def test_sweep_leaderboard_why(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("budget: smoke\nseeds: 0-1\nruns:\n  - {tasks: [test/blobs], methods: [test-linear], grid: {lr: [0.1, 0.2]}}\n")
    assert main(["sweep", str(file), "--dry-run", "--path", PLUGINS]) == 0
    assert "4 runs: 0 done" in capsys.readouterr().out and not home.exists()
    assert main(["sweep", str(file), "--path", PLUGINS, "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "mine: 4 runs done now, 0 done before, 0 failed" in out and "lr=0.2" in out and "probabilities.png" in out
    assert main(["sweep", str(file), "--path", PLUGINS]) == 0
    assert "0 runs done now, 4 done before" in capsys.readouterr().out
    assert main(["leaderboard", "test/blobs", "--format", "json", "--path", PLUGINS]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["n"] for row in rows} == {2} and len(rows) == 4
    key = rows[0]["keys"].split()[0]
    assert main(["why", key[:10]]) == 0
    assert "nearest other run" in capsys.readouterr().out


def test_list_and_show(capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "methods", "--path", PLUGINS]) == 0
    assert "test-linear" in capsys.readouterr().out
    assert main(["list", "tasks", "--path", PLUGINS]) == 0
    assert "test/blobs" in capsys.readouterr().out
    assert main(["list", "papers"]) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if line.strip()[:3].isdigit()]) == 118
    assert main(["list", "sweeps"]) == 0
    assert "quickstart" in capsys.readouterr().out
    assert main(["show", "test-linear", "--path", PLUGINS]) == 0
    out = capsys.readouterr().out
    assert "defaults: not said" in out and "--recipe wide: scale=2.0" in out
    assert "scale = 1.0  (float)" in out and "runs on: " in out and "test/blobs" in out
    assert main(["show", "test/blobs", "--path", PLUGINS]) == 0
    assert "budget smoke" in capsys.readouterr().out


def test_doctor(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch: " in out and "runs: " in out and "data" in out and "WARNING" not in out


def test_version(capsys: pytest.CaptureFixture) -> None:
    from elboard import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_status_and_logs_of_a_local_sweep(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("budget: smoke\nseeds: 0-2\nruns:\n  - {tasks: [test/blobs], methods: [test-linear], grid: {raise_at: [null, 1]}}\n")
    assert main(["sweep", str(file), "--path", PLUGINS, "--jobs", "1"]) == 1
    capsys.readouterr()
    assert main(["status", "mine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["done"], found["failed"], found["running"], found["left"]) == (6, 3, 3, 0, 0)
    assert found["best"]["test/blobs"]["method"] == "test-linear" and "as asked" in found["failed_runs"][0]["why"]
    assert main(["status", "mine"]) == 0
    text = capsys.readouterr().out
    assert "6 runs: 3 done, 0 running, 3 failed, 0 left" in text and "FAILED bug: RuntimeError: as asked" in text
    key = found["best"]["test/blobs"]["key"]
    assert main(["logs", key[:12]]) == 0
    assert "test-linear on test/blobs" in capsys.readouterr().out
    assert main(["status", "mien"]) == 2 and "no sweep 'mien' was started" in capsys.readouterr().err
    assert main(["logs", "nothing"]) == 2 and "no run 'nothing'" in capsys.readouterr().err


def test_an_exact_name_comes_before_a_beginning_and_several_are_refused(home: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("ab", "abc", "abd"):
        (home / name).mkdir(parents=True)
        (home / name / "log.txt").write_text(f"of {name}\n")
    assert main(["logs", "ab"]) == 0 and capsys.readouterr().out == "of ab\n"
    assert main(["logs", "abd"]) == 0 and capsys.readouterr().out == "of abd\n"
    for words in (["logs", "a"], ["archive", "a"]):
        assert main(words) == 2 and "'a' is the beginning of 3 runs" in capsys.readouterr().err
    assert main(["archive", ""]) == 2 and "no run ''" in capsys.readouterr().err


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_lost_terminal_is_an_end_and_an_ignored_signal_stays_ignored(ignored: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    before, heard = {number: signal.getsignal(number) for number in numbers}, {}

    def look() -> int:
        with interrupts() as check:
            heard.update({number: signal.getsignal(number) == signal.SIG_IGN for number in numbers})
            os.kill(os.getpid(), next(number for number in (signal.SIGHUP, signal.SIGTERM) if number != ignored))
            with pytest.raises(KeyboardInterrupt):
                check()
        return 0

    monkeypatch.setattr("elboard.bench.cli.main", look)
    try:
        usual = {signal.SIGINT: signal.default_int_handler}
        for number in numbers:  # as a shell without nohup has them
            signal.signal(number, signal.SIG_IGN if number == ignored else usual.get(number, signal.SIG_DFL))
        with pytest.raises(SystemExit):
            entry()
        assert heard == {number: number == ignored for number in numbers}
        others = [number for number in numbers if number != ignored]
        assert all(callable(signal.getsignal(number)) for number in others) and signal.getsignal(ignored) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_sync_hands_offline_runs_to_wandb(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert main(["sync"]) == 0 and "no offline W&B runs" in capsys.readouterr().out
    for name in ("a", "b"):
        (home / name / "wandb" / f"offline-run-{name}").mkdir(parents=True)
    (home / "a" / "wandb" / "offline-run-A").mkdir()  # an earlier attempt, all of which the later one tells
    called = []
    monkeypatch.setattr("subprocess.run", lambda words: called.append(words) or type("Done", (), {"returncode": 3}))
    assert main(["sync"]) == 3
    assert called[0][1:4] == ["-m", "wandb", "sync"] and [Path(word).name for word in called[0][4:]] == ["offline-run-a", "offline-run-b"]
