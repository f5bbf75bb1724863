"""For tests of searches: sweeps of the test method over its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from elboard.bench.config import RunSpec
from elboard.sweeps.engines.local import run_all
from elboard.sweeps.frontier import History
from elboard.sweeps.plan import Plan, expand, plan_of
from elboard.sweeps.work import Outcome

PLUGINS = str(Path(__file__).parents[1] / "plugins")
RATES = "lr: {log: [1.e-6, 1.e-1]}"
RANDOM = f"sampler: random, trials: 6, space: {{{RATES}}}"


def write(tmp_path: Path, search: str, *, options: str = "train.epochs: 2", task: str = "test/blobs", method: str = "test-linear") -> Path:
    file = tmp_path / "tuned.yaml"
    file.write_text(f"""
budget: smoke
seeds: 0-1
set: {{trainer.accelerator: cpu, {options}}}
runs: [{{tasks: [{task}], methods: [{method}], search: {{{search}}}}}]
""")
    return file


def plan(tmp_path: Path, search: str, *, home: str = "runs", paths: tuple[str, ...] = (PLUGINS,), **words: str) -> Plan:
    return plan_of(expand(write(tmp_path, search, **words), paths=paths), tmp_path / home)


def run(plan: Plan, jobs: int = 1, watch: Callable[[RunSpec, dict], None] = lambda spec, event: None, force: bool = False) -> list[Outcome]:
    """The final runs' outcomes."""
    options = {"resources": plan.resources, "forgiven": plan.forgiven, "extend": plan.frontier()}
    outcomes = run_all(plan.runs, plan.root, jobs=jobs, watch=watch, force=force, **options)
    return [outcome for outcome in outcomes if "trial" not in outcome.spec.origin]


def history(plan: Plan) -> History:
    (found,) = plan.histories()
    return found


def files(plan: Plan) -> dict[str, str]:
    """The search's files with their contents."""
    return {file.name: file.read_text() for file in sorted(history(plan).folder.iterdir())}


def epochs(plan: Plan) -> int:
    """Epochs that the trials have trained."""
    return sum((plan.root / trial.key / "curves.jsonl").read_text().count("\n") for trial in history(plan).trials)
