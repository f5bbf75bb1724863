"""After an attempt that ran out of memory the next computes a batch's loss in parts: the same gradient, and a record that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elboard.bench.config import resolve
from elboard.bench.method import in_parts, may_split
from elboard.bench.record import attempts
from elboard.bench.registry import discover
from elboard.bench.run import built, execute
from elboard.bench.runs import Runs
from elboard.sweeps.work import run_one, verdict

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)
SMALLEST = "noisy/digits-sym40"  # of the tasks of classifiers; others are trained at home
SPLITTING = sorted(name for name, entry in discover("method").items() if entry.card.splits)


def gradients(method: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", SPLITTING)
def test_parts_give_the_gradient_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = discover("method")[name].card
    spec = resolve(SMALLEST if "Classifier" in card.offers else card.home, name, budget="smoke")
    for base in spec.starts_from():
        execute(base, tmp_path)
    task, data, method = built(spec, tmp_path, {})
    batch = next(iter(task.batches(data, {**spec.config["train"], "batch_size": 50}, 0)))
    method.eval()  # the noise of the parts is other noise than that of the whole: there is none here
    monkeypatch.setattr(torch, "randn_like", lambda of: torch.full_like(of, 0.5))  # not 0, which a network that begins at 0 predicts
    monkeypatch.setattr(torch, "randn", torch.zeros)
    monkeypatch.setattr(torch, "bernoulli", torch.round)
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: torch.zeros(*size, device=device) + 0.4)
    monkeypatch.setattr(torch, "rand_like", lambda of: torch.full_like(of, 0.4))
    monkeypatch.setattr(torch, "randint", lambda high, size, device=None: torch.zeros(size, dtype=torch.long, device=device))
    assert may_split(method)
    whole = method.loss(batch)
    whole["loss"].backward()
    expected = gradients(method)
    method.zero_grad(set_to_none=True)
    parts = in_parts(method.loss, batch, 3)  # of 17, 17 and 16 examples
    parts["loss"].backward()
    assert expected.norm() > 0
    torch.testing.assert_close(gradients(method), expected, rtol=1e-3, atol=1e-5 * expected.norm().item())
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_noise_of_a_part_is_the_same_when_it_is_computed_again() -> None:
    weight, drawn = torch.zeros(5, requires_grad=True), []

    def loss(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        drawn.append(torch.randn(len(batch["x"]), 5))
        return {"loss": (drawn[-1] * weight.exp()).sum(1).mean()}

    in_parts(loss, {"x": torch.zeros(7, 1)}, 2)["loss"].backward()
    assert len(drawn) == 4
    torch.testing.assert_close(weight.grad, torch.cat(drawn[:2]).mean(0))
    assert torch.equal(drawn[2], drawn[1]) and torch.equal(drawn[3], drawn[0]), "backwards, the last part first"


def test_batch_norm_is_not_split() -> None:
    _, _, method = built(resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS), Path(), {})
    assert may_split(method)
    method.norm = torch.nn.BatchNorm1d(3)
    assert not may_split(method)


def test_a_run_that_ran_out_of_memory_goes_on_in_parts(home: Path) -> None:
    overrides = {"method.room": 10, "train.batch_size": 32}
    spec = resolve("test/blobs", "test-linear", budget="smoke", overrides=overrides, paths=PLUGINS)
    states = []
    while verdict(spec, Runs(home)) is None:
        states.append(run_one(spec, home).state)
    assert states == ["failed", "failed", "done"], "32, 16, then 8 at once"
    record = verdict(spec, Runs(home)).record
    assert record.notes["parts"] == 4 and record.spec["config"]["train"]["batch_size"] == 32
    assert [found.failure["class"] for found in attempts(home / spec.key) if found.status == "failed"] == ["oom", "oom"]
    roomy = resolve("test/blobs", "test-linear", budget="smoke", overrides={"train.batch_size": 32}, paths=PLUGINS)
    undisturbed = run_one(roomy, home).record
    assert "parts" not in undisturbed.notes
    assert record.metrics == pytest.approx(undisturbed.metrics, rel=1e-4)
