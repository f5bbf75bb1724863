"""Runs that start from others, by role: on another task, several members, two roles, a base of a base; under every engine that is here."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from elboard.bench.cli import main
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.legacy import keys_of
from elboard.bench.run import built, execute
from elboard.bench.runs import Runs
from elboard.bench.training import _Loop
from elboard.sweeps.engines.local import run_all
from elboard.sweeps.frontier import History
from elboard.sweeps.plan import expand, plan_of
from elboard.sweeps.work import Outcome, outcome_of, run_one

PLUGINS = Path(__file__).parents[1] / "plugins"
PRIOR = '"prior": {"method": "test-linear", "task": "test/other", "budget": "lite", "seed": 7, "set": {"scale": 0.5, "train.epochs": 2}}'
BASES = {
    "test-mixed": f'{{{PRIOR}, "members": {{"method": "test-linear", "count": "n"}}}}',
    "test-chain": '{"whole": {"method": "test-mixed"}}',
    "test-one": '{"start": {"method": "test-two"}}',
    "test-two": '{"start": {"method": "test-one"}}',
}
FIT = """    def fit(self, data, training):
        heads = [one.head for one in self.all_bases()]
        with torch.no_grad():
            self.head.weight.copy_(sum(head.weight for head in heads) / len(heads))
            self.head.bias.copy_(sum(head.bias for head in heads) / len(heads))

    def loss("""


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, ...]:
    """The plug-ins, with methods that average what they start from."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "other.py").write_text((PLUGINS / "blobs.py").read_text().replace("test/blobs", "test/other"))
    text = (PLUGINS / "linear.py").read_text().replace("    def loss(", FIT, 1)
    for name, bases in BASES.items():
        card = text.replace('name="test-linear"', f'name="{name}", bases={bases}').replace(
            "room: int = 0", "n: int = 2\n        room: int = 0"
        )
        (folder / f"{name.replace('-', '_')}.py").write_text(card)
    return str(PLUGINS), str(folder)


def spec_of(paths: tuple[str, ...], method: str = "test-mixed", seed: int = 0, **overrides: object) -> RunSpec:
    return resolve("test/blobs", method, seed=seed, budget="smoke", overrides={"trainer.accelerator": "cpu", **overrides}, paths=paths)


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(f"budget: smoke\nset: {{trainer.accelerator: cpu}}\n{text}\n")
    return file


def told(outcomes: list[Outcome]) -> dict[tuple, dict[str, float]]:
    return {(o.spec.method, o.spec.task, o.spec.seed): o.record.metrics for o in outcomes}


def test_what_a_base_starts_from_is_placed_with_it(tmp_path: Path, paths: tuple[str, ...]) -> None:
    """On the device of the task, and of a process that trains with others on its own."""
    spec = spec_of(paths, "test-chain")
    for run in spec.starts_from():
        execute(run, tmp_path)
    chain, trainer = (
        built(spec, tmp_path, {}).method,
        SimpleNamespace(strategy=SimpleNamespace(root_device="meta"), global_rank=0, world_size=1),
    )
    loop = _Loop(SimpleNamespace(task=SimpleNamespace()), SimpleNamespace(place=lambda *of: None))
    loop.on_fit_start(trainer, chain)
    behind = [chain.base, *chain.base.all_bases()]
    assert len(behind) == 4 and {one.head.weight.device.type for one in behind} == {"meta"} and chain.head.weight.device.type == "cpu"


EVERYTHING = "runs: [{tasks: [test/blobs], methods: [test-chain], seeds: 0-1}, {tasks: [test/blobs], methods: [test-linear], seeds: 0-3}]"


def test_what_a_run_starts_from_is_planned_once_and_shared(tmp_path: Path, paths: tuple[str, ...]) -> None:
    sweep = expand(write(tmp_path, EVERYTHING), paths=paths)
    assert [(spec.method, spec.task, spec.budget, spec.seed) for spec in sweep.runs] == [
        ("test-linear", "test/other", "lite", 7),
        ("test-linear", "test/blobs", "smoke", 0),
        ("test-linear", "test/blobs", "smoke", 1),
        ("test-mixed", "test/blobs", "smoke", 0),
        ("test-chain", "test/blobs", "smoke", 0),
        ("test-linear", "test/blobs", "smoke", 2),
        ("test-linear", "test/blobs", "smoke", 3),
        ("test-mixed", "test/blobs", "smoke", 1),
        ("test-chain", "test/blobs", "smoke", 1),
    ], "the prior has its own seed, member i of n of seed s the seed n * s + i"
    assert sweep.runs[0].config["method"]["scale"] == 0.5 and sweep.runs[0].config["train"]["epochs"] == 2
    first, second = (run_all(sweep.runs, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert {outcome.state for outcome in first + second} == {"done"} and len(first) == 9
    assert told(first) == told(second)
    assert {len(Runs(tmp_path / "2").attempts(spec)) for spec in sweep.runs} == {1}
    again = run_all(sweep.runs, tmp_path / "1", jobs=1)
    assert {outcome.state for outcome in again} == {"present"}


def test_the_worker_of_a_plan_and_the_command_agree(tmp_path: Path, paths: tuple[str, ...], capsys: pytest.CaptureFixture) -> None:
    file = write(tmp_path, EVERYTHING)
    plan = plan_of(expand(file, paths=paths), tmp_path / "worker")
    done = subprocess.run([sys.executable, "-m", "elboard.sweeps.queue", str(plan.save()), "cpus=1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not plan.unfinished()
    words = [word for path in paths for word in ("--path", path)]
    out = ["--out", str(tmp_path / "command")]
    assert main(["sweep", str(file), *words, *out, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "test-linear (prior of test-mixed)" in said and "test-linear (members of test-mixed)" in said
    assert "test-mixed (whole of test-chain)" in said and "9 runs: 0 done" in said
    assert main(["run", "test/blobs", "test-chain", "trainer.accelerator=cpu", "--budget", "smoke", "--seeds", "0-1", *words, *out]) == 0
    capsys.readouterr()
    specs = [spec_of(paths, "test-chain", seed) for seed in (0, 1)]
    found = [[runs.done(spec).metrics for spec in specs] for runs in (Runs(plan.root), Runs(tmp_path / "command"))]
    assert found[0] == found[1]
    assert main(["sweep", str(file), *words, *out, "--jobs", "2"]) == 0
    assert "9 done before" in capsys.readouterr().out, "bases are shared between commands"
    assert main(["status", "mine", *out]) == 0
    assert "9 runs: 9 done, 0 running, 0 failed, 0 left" in capsys.readouterr().out
    assert main(["why", specs[0].key, *out]) == 0
    assert f"starts from whole: {spec_of(paths).key} test-mixed on test/blobs, smoke, seed 0" in capsys.readouterr().out
    assert main(["show", "test-mixed", *words]) == 0
    said = capsys.readouterr().out
    assert "starts from prior: test-linear on test/other, budget lite, seed 7, set {'scale': 0.5" in said
    assert "starts from members: test-linear on the same task, count n" in said


def test_a_number_of_members_is_an_option(paths: tuple[str, ...]) -> None:
    assert [spec.seed for spec in spec_of(paths, n=3, seed=2).bases["members"]] == [6, 7, 8]
    with pytest.raises(UserError, match="n=0: test-mixed starts from at least one run"):
        spec_of(paths, n=0)


def test_members_on_a_split_of_their_own_are_refused(tmp_path: Path, paths: tuple[str, ...]) -> None:
    """The split follows the seed: other seeds would have been trained on what the run is tested on."""
    text = (
        (PLUGINS / "blobs.py")
        .read_text()
        .replace("test/blobs", "test/split")
        .replace('selection="accuracy"', 'selection="accuracy", varies="seed and split"')
    )
    (tmp_path / "split.py").write_text(text)
    with pytest.raises(UserError, match="splits its data by the seed, and members of test-mixed have others"):
        resolve("test/split", "test-mixed", budget="smoke", overrides={"n": 3}, paths=(*paths, str(tmp_path / "split.py")))
    assert resolve("test/split", "test-linear", budget="smoke", paths=(*paths, str(tmp_path / "split.py"))).key


def test_options_of_what_a_run_starts_from(paths: tuple[str, ...]) -> None:
    spec = spec_of(paths, **{"bases.prior.scale": 2.0, "bases.prior.task.n": 900, "bases.members.train.epochs": 1})
    (prior,), members = spec.bases["prior"], spec.bases["members"]
    assert prior.config["method"]["scale"] == 2.0 and prior.config["task"]["n"] == 900 and prior.config["train"]["epochs"] == 2
    assert {member.config["train"]["epochs"] for member in members} == {1}
    chain = spec_of(paths, "test-chain", **{"base.n": 1, "bases.whole.bases.prior.lr": 0.5})
    assert len(chain.bases["whole"][0].bases["members"]) == 1 and chain.bases["whole"][0].bases["prior"][0].config["method"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"bases.priro.scale": 2.0}, "bases.priro.scale: no section 'bases.priro', did you mean 'bases.prior'"),
        ({"base.scale": 2.0}, "base.scale: no section 'base'"),
        ({"bases.prior.sclae": 2.0}, "no option 'sclae', did you mean 'scale'"),
        ({"bases.prior.method": "ppca"}, "ppca cannot run on test/other"),
    ],
)
def test_mistakes_are_told_in_a_line(paths: tuple[str, ...], words: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        spec_of(paths, **words)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_cards_that_go_round_are_told_in_a_line(paths: tuple[str, ...], capsys: pytest.CaptureFixture) -> None:
    words = [word for path in paths for word in ("--path", path)]
    assert main(["run", "test/blobs", "test-one", "--budget", "smoke", *words]) == 2
    said = capsys.readouterr().err
    assert "test-one on test/blobs, which starts from test-two on test/blobs, which starts from test-one on test/blobs" in said
    with pytest.raises(UserError, match="no run can start from itself"):
        spec_of(paths, "test-chain", **{"base.method": "test-chain"})
    assert spec_of(paths, "test-one", **{"base.method": "test-linear"}).bases["start"][0].method == "test-linear"


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_starts_from_a_failed_run_fails_with_it_and_goes_on_when_that_is_mended(
    tmp_path: Path, paths: tuple[str, ...], jobs: int
) -> None:
    failing = EVERYTHING.replace("seeds: 0-1}", "seeds: 0-1, set: {bases.whole.bases.prior.raise_at: 0}}")
    plan = plan_of(expand(write(tmp_path, failing), paths=paths), tmp_path / "runs")
    chains = [spec for spec in plan.runs if spec.method == "test-chain"]
    outcomes = {o.spec.key: o for o in run_all(plan.runs, plan.root, jobs=jobs, forgiven=plan.forgiven)}
    prior = plan.runs[0]
    assert outcomes[prior.key].message.startswith("bug: RuntimeError: as asked (linear.py:") and len(plan.known.attempts(prior)) == 1, (
        "tried once for all"
    )
    for spec in chains:
        why = outcomes[spec.key].message
        assert outcomes[spec.key].state == "failed" and not plan.known.attempts(spec)
        assert (
            why
            == f"infra: the run {prior.key} that it starts from (test-linear on test/other, seed 7) failed: {outcomes[prior.key].message}"
        )
        assert plan.known.over(spec).key == prior.key
    assert sum(outcome.state == "done" for outcome in outcomes.values()) == 4 and not plan.unfinished()
    record = execute(chains[0], plan.root)
    assert record.failure["class"] == "infra" and f"the run {prior.key} that it starts from failed" in record.failure["message"]


def test_a_base_that_is_tried_again_lets_go_on(tmp_path: Path, paths: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    spec, loads = spec_of(paths), []
    from elboard.bench.registry import find

    other = find("task", "test/other", tuple(map(Path, paths))).load()
    load = other.load_train

    def once(self: object) -> object:
        loads.append(self)
        if len(loads) == 1:
            raise OSError("away for a moment")
        return load(self)

    monkeypatch.setattr(other, "load_train", once)
    first = run_one(spec, tmp_path)
    assert first.state == "failed" and first.message.endswith("infra: OSError: away for a moment")
    assert Runs(tmp_path).over(spec) is None, "to be tried again"
    assert run_one(spec, tmp_path).state == "done" and len(Runs(tmp_path).attempts(spec.bases["prior"][0])) == 2


def test_a_failure_under_a_key_from_before_is_the_runs_own(tmp_path: Path, paths: tuple[str, ...]) -> None:
    spec = spec_of(paths, "test-linear", raise_at=0)
    record = execute(spec, tmp_path)
    assert outcome_of(spec, replace(record, key=keys_of(spec)[0])).message == f"bug: {record.failure['message']}"


def test_weights_that_are_gone_are_made_again(tmp_path: Path, paths: tuple[str, ...]) -> None:
    spec = spec_of(paths)
    assert run_one(spec, tmp_path).state == "done"
    runs, (prior,) = Runs(tmp_path), spec.bases["prior"]
    runs.weights(prior).unlink()
    assert runs.done(prior) is not None and runs.trained(prior) is None
    assert run_one(spec, tmp_path, force=True).state == "done"
    assert len(runs.attempts(prior)) == 2 and {len(runs.attempts(member)) for member in spec.bases["members"]} == {1}


def test_data_that_runs_share_are_read_once(tmp_path: Path, paths: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(paths, n=1)
    for base in spec.starts_from():
        assert run_one(base, tmp_path).state == "done"
    from elboard.bench.registry import find

    seen = []
    for name in ("test/blobs", "test/other"):
        task = find("task", name, tuple(map(Path, paths))).load()
        monkeypatch.setattr(task, "load_train", lambda self, name=name, load=task.load_train: seen.append(name) or load(self))
    assert run_one(spec, tmp_path).state == "done"
    assert sorted(seen) == ["test/blobs", "test/other"], "the member's data are the run's own"


def test_resources_are_those_of_each_run(tmp_path: Path, paths: tuple[str, ...]) -> None:
    needs = "resources: {default: {time: 1m}, test/other: {cpus: 2}, test-linear: {memory: 3}}"
    sweep = expand(write(tmp_path, f"{needs}\n{EVERYTHING}"), paths=paths)
    found = {(spec.method, spec.task): sweep.resources[spec.key] for spec in sweep.runs}
    assert [(need.cpus, need.memory, need.time) for need in found.values()] == [(2, 3, 60), (1, 3, 60), (1, 0, 60), (1, 0, 60)]
    search = "search: {sampler: random, trials: 2, space: {bases.prior.lr: [0.01, 0.1]}}"
    tuned = expand(write(tmp_path, f"{needs}\nruns: [{{tasks: [test/blobs], methods: [test-mixed], {search}}}]"), paths=paths)
    plan = plan_of(tuned, tmp_path / "runs")
    (named,) = [plan.frontier()({})]
    of = {(spec.method, spec.task): plan.resources[spec.key] for spec in named}
    assert (of["test-linear", "test/other"].cpus, of["test-linear", "test/blobs"].cpus, of["test-mixed", "test/blobs"].memory) == (2, 1, 0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_options_of_a_role_are_searched(tmp_path: Path, paths: tuple[str, ...], jobs: int) -> None:
    search = "search: {sampler: random, trials: 4, space: {bases.prior.lr: {log: [1.e-4, 1.e-1]}}}"
    plan = plan_of(
        expand(write(tmp_path, f"runs: [{{tasks: [test/blobs], methods: [test-mixed], {search}}}]"), paths=paths), tmp_path / "runs"
    )
    outcomes = run_all(plan.runs, plan.root, jobs=jobs, forgiven=plan.forgiven, extend=plan.frontier())
    assert {outcome.state for outcome in outcomes} == {"done"}
    found = History(plan.searches[0], plan.known).look()
    assert found.count("done") == 4 and len({trial.spec.bases["prior"][0].key for trial in found.trials}) == 4
    assert len({member.key for trial in found.trials for member in trial.spec.bases["members"]}) == 2, "of the trials' own seed, shared"
    (final,) = found.final()
    assert final.bases["prior"][0].config["method"]["lr"] == found.best().parameters["bases.prior.lr"]
