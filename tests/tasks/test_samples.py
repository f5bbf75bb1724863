"""Samples of images and of points: what true samples score, what evidence keeps, and that trained models are not trained again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from loading import loaded

from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.evidence import scored
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.registry import find
from elboard.bench.run import execute
from elboard.bench.runs import Runs
from elboard.tasks.data.toy import Atlas, points
from elboard.tasks.density.toy_2d import Toy2D
from elboard.tasks.parts.moments import packed, unpacked
from elboard.tasks.samples.toy_2d import ToySamples


class Truth(torch.nn.Module):
    """Draws from given examples."""

    def __init__(self, x: torch.Tensor):
        super().__init__()
        self.x = x

    def all_bases(self) -> list:
        return []

    def sample(self, n: int) -> torch.Tensor:
        return self.x[:n]


def test_true_points_score_as_such_and_others_do_not() -> None:
    task = ToySamples(ToySamples.Config(n_train=5000), "lite", 0)
    data, test = loaded(task)
    found = {}
    for name, x in (("true", data.train["x"]), ("noise", 2 * torch.randn(2000, 2)), ("few", data.train["x"][data.train["x"][:, 1] < 0])):
        scores = scored(ToySamples, task.observe(Truth(x), data, test, []))
        assert ToySamples.score(scores.evidence) == scores.metrics, "evidence is whole"
        found[name] = scores.metrics
    true = found["true"]
    assert abs(true["mmd2"]) < 1e-3 < 1e-2 < found["noise"]["mmd2"]
    assert true["on_support"] == pytest.approx(0.99, abs=0.01) and found["noise"]["on_support"] < 0.5
    assert true["share_error"] < 0.05 and found["few"]["share_error"] == pytest.approx(4 / 7, abs=0.05)
    assert true["mode_coverage/25-gaussians"] == true["mode_coverage/8-gaussians"] == 1.0
    assert found["noise"]["mode_coverage/25-gaussians"] < 0.9


def test_the_true_density_has_no_excess() -> None:
    class True_:
        def log_evidence(self, x: torch.Tensor, k: int) -> torch.Tensor:
            return torch.from_numpy(Atlas().log_density(x.numpy())) - 0.25

    task = Toy2D(Toy2D.Config(n_train=100, n_test=1400, k=3), "lite", 0)
    data, test = loaded(task)
    scores = scored(Toy2D, task.observe(True_(), data, test, []))
    excess = {key: value for key, value in scores.metrics.items() if key.startswith("excess")}
    assert len(excess) == 8 and all(value == pytest.approx(0.25, abs=1e-5) for value in excess.values())
    assert Toy2D.score(scores.evidence) == scores.metrics
    parts = [scores.metrics[f"nll[k=3]/{name}"] for name in Atlas().names]
    shares = np.bincount(test["pattern"].numpy()) / 1400
    assert scores.metrics["nll[k=3]"] == pytest.approx(float(np.dot(parts, shares)), abs=1e-9)


def test_splits_of_points_do_not_meet() -> None:
    sets = [points(["moons"], 300, split)[0] for split in ("train", "valid", "test")]
    assert torch.cdist(torch.cat(sets), torch.cat(sets)).fill_diagonal_(1.0).min() > 0


def test_packed_moments_give_nearly_the_same_distance() -> None:
    """Of features of which many are nearly always zero, as those of a network of rectifiers."""
    rng = np.random.default_rng(0)
    tolerance = find("task", "samples/mnist").load().rounding["fd"][0]
    for _ in range(10):
        mix = rng.normal(size=(64, 64)) * rng.exponential(size=64)
        sets = [np.maximum(rng.normal(size=(2000, 64)) @ mix * 0.3 + shift, 0) for shift in (0.0, rng.normal(size=64))]
        moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in sets]
        arrays = {name: array for of, (_, c) in zip(("real", "fake"), moments, strict=True) for name, array in packed(of, c).items()}
        means, back = [m for m, _ in moments], unpacked(arrays, ("real", "fake"))
        exact = frechet_distance(*moments[0], *moments[1])
        found = frechet_distance(means[0], back["real_covariance"], means[1], back["fake_covariance"])
        assert abs(found - exact) < tolerance


def test_a_trained_model_is_a_base_on_the_task_that_belongs_to_the_data(tmp_path: Path) -> None:
    spec = resolve("samples/mnist", "trained", budget="smoke", overrides={"base.method": "vae-k", "base.k": 2})
    (base,) = spec.starts_from()
    assert (base.task, base.method, base.config["method"]["k"]) == ("generation/mnist", "vae-k", 2)
    spec = resolve("samples/toy-2d", "trained", budget="smoke", overrides={"base.method": "gaussian-mixture", "trainer.accelerator": "cpu"})
    (base,) = spec.starts_from()
    assert base.task == "density/toy-2d"
    record = execute(spec, tmp_path)
    assert record.status == "done" and Runs(tmp_path).done(base), record.failure
    assert execute(resolve("samples/toy-2d", "gaussian-mixture", budget="smoke"), tmp_path).metrics == pytest.approx(
        record.metrics, abs=0.2
    )


def test_a_task_without_a_base_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    words = find("method", "trained").card.bases["model"]["task"]
    monkeypatch.delitem(words, "samples/toy-2d")
    with pytest.raises(UserError, match="trained has no model for samples/toy-2d, only for samples/fashion-mnist, samples/mnist"):
        resolve("samples/toy-2d", "trained", budget="smoke")
