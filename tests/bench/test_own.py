"""Tasks without training tensors: a target density, ragged sequences, an environment; batches of a task's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elboard.bench import stopping
from elboard.bench.batches import Batches, OwnBatches
from elboard.bench.config import RunSpec, resolve
from elboard.bench.cost import flops_per_example
from elboard.bench.run import build, execute, load_trained
from elboard.sweeps.work import run_one

OWN = (str(Path(__file__).parent / "own"),)


def spec_of(task: str, method: str, **overrides: object) -> RunSpec:
    return resolve(task, method, budget="smoke", overrides={"trainer.accelerator": "cpu", **overrides}, paths=OWN)


def test_a_method_is_fitted_to_a_target_density_without_data(tmp_path: Path) -> None:
    spec = spec_of("test/target", "test-reverse-kl")
    record = execute(spec, tmp_path)
    assert record.status == "done", record.failure
    assert record.metrics["mse"] < 0.05 and record.notes["selection"]["metric"] == "mse"
    assert load_trained(spec, tmp_path).log_scale.exp().tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    assert record.cost["parameters"] == 4 and "flops_per_example" in record.cost


def test_a_policy_learns_in_an_environment(tmp_path: Path) -> None:
    spec = spec_of("test/steering", "test-reinforce")
    _, _, method = build(spec)
    record = execute(spec, tmp_path)
    assert record.status == "done", record.failure
    assert method.gain == 0 and load_trained(spec, tmp_path).gain < -0.5, "it moves against the state"
    assert record.metrics["mse"] < 0.3 < 1.0, "one without a policy"


def test_own_batches_stopped_within_an_epoch_go_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("test/sequences", "test-regression")
    whole = execute(spec, tmp_path / "whole")
    assert whole.status == "done" and 1.0 < whole.metrics["mse"] < 1.5, whole.failure
    asked = iter([False] * 8 + [True])  # a batch of the second epoch
    monkeypatch.setattr(stopping, "requested", lambda: next(asked, False))
    with pytest.raises(stopping.Preempted):
        execute(spec, tmp_path / "broken")
    kept = torch.load(tmp_path / "broken" / spec.key / "checkpoints" / "last.ckpt", weights_only=True)
    within = next(state for name, state in kept["callbacks"].items() if name.startswith("_Loop"))["within"]
    assert kept["epoch"] == 1 and 0 < within["batches"]["position"] < 6
    assert execute(spec, tmp_path / "broken").metrics == whole.metrics
    curves = [(tmp_path / name / spec.key / "curves.jsonl").read_text() for name in ("whole", "broken")]
    assert curves[0] == curves[1]


def test_processes_that_train_together_share_own_batches(tmp_path: Path) -> None:
    two = spec_of("test/sequences", "test-regression", **{"trainer.devices": "2", "trainer.strategy": "ddp"})
    outcome = run_one(two, tmp_path)
    assert outcome.state == "done" and 1.0 < outcome.record.metrics["mse"] < 1.5, outcome.message


class Numbers(OwnBatches):
    def make(self, epoch: int, i: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"x": torch.randn(5, 2, generator=generator), "i": torch.full((5,), 10 * epoch + i)}


def test_own_batches_depend_on_seed_epoch_and_number_alone() -> None:
    batches, again, other = Numbers(0, 3), Numbers(0, 3), Numbers(1, 3)
    first, rest = list(batches), list(again)[1:]
    assert len(batches) == len(first) == 3 and not torch.equal(first[0]["x"], next(iter(other))["x"])
    again.load_state_dict({"position": 1})
    assert [torch.equal(a["x"], b["x"]) for a, b in zip(again, rest, strict=True)] == [True, True], "the first is not made again"
    assert len(list(again)) == 3, "the next epoch is whole"
    again.load_state_dict({"position": 3})
    assert len(list(again)) == 3, "an epoch that was complete"
    batches.epoch = lambda: 1
    later = list(batches)
    assert later[0]["i"].tolist() == [10] * 5 and not torch.equal(later[0]["x"], first[0]["x"])


def test_shares_are_parts_of_the_same_batch() -> None:
    whole = next(iter(Numbers(0, 3)))
    for rank in (0, 1):
        batches = Numbers(0, 3)
        batches.place(torch.device("cpu"), rank, 2)
        assert torch.equal(next(iter(batches))["x"], whole["x"][2 * rank : 2 * rank + 2])
    batches.place(torch.device("cpu"), 0, 6)
    with pytest.raises(ValueError, match="a batch of 5 cannot be shared by 6 processes; set trainer.devices=1"):
        next(iter(batches))
    nothing = OwnBatches(0)
    nothing.place(torch.device("cpu"), 1, 2)
    assert list(nothing) == [{}]


def test_a_batch_size_of_0_is_all_examples() -> None:
    data = {"x": torch.arange(7)}
    (batch,) = Batches(data, 0, seed=3)
    assert torch.equal(batch["x"], next(iter(Batches(data, 100_000, seed=3)))["x"]) and len(batch["x"]) == 7


def test_flops_of_an_empty_batch_are_those_of_a_step() -> None:
    _, _, method = build(spec_of("test/target", "test-reverse-kl"))
    assert flops_per_example(method, {}) == 0, "no products of matrices"
