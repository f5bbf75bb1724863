"""Metrics that accumulate: those of all examples at once, in batches of any size, on one process or two, and in Lightning."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import accumulating
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from elboard.bench.metrics import calibration
from elboard.bench.metrics.accumulated import (
    ActiveUnits,
    CalibrationError,
    CodePerplexity,
    ExampleMean,
    FrechetDistance,
    Moments,
)
from elboard.bench.metrics.generation import frechet_distance

ROOT = Path(__file__).parents[2]
AT_ONCE = accumulating.at_once()
SIZES = (1, 7, 50, accumulating.N)


def assert_same(found: dict[str, list[float]]) -> None:
    assert found.keys() == AT_ONCE.keys()
    for name, right in AT_ONCE.items():
        assert found[name] == pytest.approx(right, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("size", SIZES)
def test_batches_of_any_size_give_what_all_examples_give(size: int) -> None:
    parts = list(torch.arange(accumulating.N).split(size))
    assert_same(accumulating.in_parts([*parts[:2], torch.arange(0), *parts[2:]]))
    assert AT_ONCE["active_units"] == [3.0]


@pytest.mark.parametrize("world", [1, 2])
def test_two_processes_give_what_one_gives(world: int, tmp_path: Path) -> None:
    command = [sys.executable, accumulating.__file__, str(tmp_path)]
    env = {"PATH": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([*command, str(rank), str(world)], env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    for rank, process in enumerate(ranks):
        assert process.wait(timeout=120) == 0, process.stderr.read()
        assert_same(json.loads((tmp_path / f"{rank}.json").read_text()))


@pytest.mark.parametrize("name", list(AT_ONCE))
def test_states_are_bounded_exact_merge_and_start_again(name: str) -> None:
    given, (first, takes), (second, _) = accumulating.data(), accumulating.metrics()[name], accumulating.metrics()[name]
    second = pickle.loads(pickle.dumps(second)).half()  # as training in half precision does to modules
    size = len(pickle.dumps(second.metric_state))
    for start in range(0, 300, 100):
        first(*(given[of][start : start + 100] for of in takes))  # adds the batch, and gives its own value
    second.update(*(given[of][300:] for of in takes))
    second.merge_state(first)
    assert accumulating.numbers(second.compute()) == pytest.approx(AT_ONCE[name], rel=1e-9, abs=1e-9)
    assert len(pickle.dumps(second.metric_state)) == size
    second.reset()
    second.update(*(given[of] for of in takes))
    assert accumulating.numbers(second.compute()) == pytest.approx(AT_ONCE[name], rel=1e-9, abs=1e-9)


def test_moments_do_not_cancel() -> None:
    """Sums of squares lose all digits of this variance."""
    rows = torch.randn(1000, 3, dtype=torch.float64) + 1e8
    moments = Moments(3)
    for part in rows.split(64):
        moments.update(part)
    np.testing.assert_allclose(moments.compute()[1], np.cov(rows.numpy() - 1e8, rowvar=False), rtol=1e-6)
    assert torch.isnan(_of(Moments(3), rows[:1])[1]).all(), "one row has no covariance"


def _of(metric: Moments, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    metric.update(rows)
    return metric.compute()


def test_collections_share_no_sums_of_different_things() -> None:
    """Of a classifier that knows nothing the first batch's entropy and likelihood are equal."""
    p, y = torch.full((10, 4), 0.25), torch.zeros(10, dtype=torch.int64)
    both = MetricCollection({"nll": ExampleMean(calibration.class_nll), "cross": ExampleMean(_mean_entropy)})
    both.update(p, y)
    both.update(torch.eye(4)[torch.ones(10, dtype=torch.int64)], y)
    found = both.compute()
    assert found["cross"] == pytest.approx(np.log(4) / 2) and found["nll"] > 10
    at = MetricCollection({"a": FrechetDistance(np.zeros(2), np.eye(2)), "b": FrechetDistance(np.ones(2), np.eye(2))})
    for part in (rows := torch.randn(30, 2)).split(10):
        at.update(part)
    moments = rows.double().numpy().mean(0), np.cov(rows.double().numpy(), rowvar=False)
    for name, mean in (("a", np.zeros(2)), ("b", np.ones(2))):
        assert at.compute()[name] == pytest.approx(frechet_distance(mean, np.eye(2), *moments))


def _mean_entropy(p: np.ndarray, y: np.ndarray) -> float:
    return calibration.entropy(p)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"ActiveUnits was made for rows of 3, not for \(5, 4\)"):
        ActiveUnits(3).update(torch.zeros(5, 4))
    with pytest.raises(ValueError, match=r"CodePerplexity was made for sums of shape \(8,\), not \(10,\)"):
        CodePerplexity(8).update(torch.tensor([9]))


def test_confidence_one_is_of_the_last_bin() -> None:
    """Where torchmetrics has a sixteenth."""
    metric = CalibrationError()
    metric.update(torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16), torch.tensor([1]))
    metric.update(torch.tensor([[0.95, 0.05]]), torch.tensor([0]))
    assert metric.compute() == pytest.approx(abs(0.975 - 0.5), abs=1e-7)


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"<!-- example -->\n```python\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), flags=re.DOTALL)
    scope: dict = {}
    exec(compile(text, "metrics.md", "exec"), scope)
    x = torch.randn(90, 5)
    y = x[:, :3].argmax(1)
    model = scope["Classifier"](x)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, num_sanity_val_steps=1, **quiet)
    trainer.fit(model, DataLoader(TensorDataset(x, y), 30), DataLoader(TensorDataset(x[:40], y[:40]), 15))
    p, seen = model.net(x[:40]).softmax(1).detach().double().numpy(), x.double().numpy()
    moments = [moment for rows in (seen, seen[:40]) for moment in (rows.mean(0), np.cov(rows, rowvar=False))]
    right = {"ece": calibration.ece(p, y[:40].numpy()), "brier": calibration.brier(p, y[:40].numpy())}
    right["shift"] = frechet_distance(*moments)
    assert {name: float(trainer.callback_metrics[name]) for name in right} == pytest.approx(right, rel=1e-5)
