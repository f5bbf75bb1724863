"""Metrics from arrays, of a run and of the evidence that it leaves: which follow, how exactly, and that others are not claimed to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from elboard.bench.config import resolve
from elboard.bench.metrics.calibration import brier, classification_metrics
from elboard.bench.metrics.conventions import of_examples, parse
from elboard.bench.record import Record
from elboard.bench.registry import find
from elboard.bench.run import execute
from elboard.results.untrusted import read_evidence
from elboard.tasks.calibration.base import _log

RUNS = [
    ("aggregate/mnist", "vae"),
    ("calibration/mnist", "softmax"),
    ("density/digits", "ppca"),
    ("disentanglement/sprites", "beta-vae"),
    ("generation/digits", "vae"),
    ("gradients/mnist", "sgvb"),
    ("links/cora", "adamic-adar"),
    ("noisy/digits-sym40", "co-teaching"),
    ("ood/digits", "softmax"),
    ("recommendation/ml-100k", "ease"),
    ("samples/mnist", "ppca"),
]


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """For moments of features and some hundred codes: what is cut is as an example."""
    monkeypatch.setattr("elboard.bench.evidence.LIMIT", 100 * 1024)


FEATURES = {"kid", "gen_precision", "gen_recall"}  # need the features of all samples


def run(task: str, method: str, folder: Path) -> tuple[Record, dict[str, np.ndarray], type]:
    spec = resolve(task, method, budget="smoke", overrides={"trainer.accelerator": "cpu"})
    record = execute(spec, folder)
    assert record.status == "done", record.failure
    return record, read_evidence(folder / spec.key / "evidence" / "evidence.npz"), find("task", task).load()


@pytest.mark.parametrize(("task", "method"), RUNS)
def test_evidence_gives_the_metrics_again(task: str, method: str, tmp_path: Path) -> None:
    record, evidence, cls = run(task, method, tmp_path)
    found = cls.score(evidence, iter(record.metrics))
    absent = {parse(name).name for name in set(record.metrics) - set(found)}
    assert absent == (FEATURES if task.startswith(("generation", "samples")) else set())
    for name, value in found.items():
        assert value == pytest.approx(record.metrics[name], abs=cls.tolerance(name, evidence)), name
    assert cls.score(evidence, ["no_such_metric"]) == {}
    assert cls.score(evidence) == found, "the evidence alone says which keys the task reports"
    again = cls.compact(evidence)
    assert set(again) == set(evidence) and all(np.array_equal(again[name], evidence[name]) for name in evidence)


@pytest.mark.parametrize(
    ("task", "method", "array", "metric"),
    [
        ("links/cora", "adamic-adar", "scores", "auc"),
        ("recommendation/ml-100k", "ease", "top", "ndcg@100"),
        ("ood/digits", "msp", "y", "accuracy"),
    ],
)
def test_other_evidence_gives_other_metrics(task: str, method: str, array: str, metric: str, tmp_path: Path) -> None:
    record, evidence, cls = run(task, method, tmp_path)
    other = {**evidence, array: evidence[array][::-1]}
    found = cls.score(other, [metric])
    assert abs(found[metric] - record.metrics[metric]) > cls.tolerance(metric, other)


def test_noisy_curves_follow_from_the_epochs() -> None:
    cls = find("task", "noisy/digits-sym40").load()
    labels = {name: np.zeros(4, np.uint8) for name in ("y", "train_given", "train_clean", "train_predicted")}
    evidence = {"p": np.eye(4, 10), **labels, "epoch_test": np.array([0.2, 0.9, 0.4]), "epoch_valid": np.array([0.1, 0.2, 0.3])}
    wanted = {"accuracy_last": 0.4, "accuracy_best": 0.4, "accuracy_peak": 0.9, "accuracy_last10": 0.5}
    assert cls.score(evidence, wanted) == pytest.approx(wanted)
    older = {name: array for name, array in evidence.items() if not name.startswith("epoch")}
    assert cls.score(older, wanted) == {}


def test_lists_without_targets_give_means_of_users_and_no_coverage() -> None:
    cls = find("task", "recommendation/ml-100k").load()
    older = {"top": np.zeros((2, 100), np.uint16), "recall@20": np.array([0.25, 0.75], np.float32)}
    assert cls.score(older, ["recall@20", "item_coverage@100", "recall@50"]) == {"recall@20": 0.5}


def test_lists_with_targets_give_any_length_up_to_their_own() -> None:
    cls = find("task", "recommendation/ml-100k").load()
    targets = np.zeros((1, 12), bool)
    targets[0, [3, 5]] = True
    evidence = {"top": np.array([[3, 7, 5]], np.uint16), "targets": np.packbits(targets, axis=1), "n_items": np.array(12)}
    wanted = {"recall@1": 1.0, "recall@2": 0.5, "recall@3": 1.0, "ndcg@3": (1 + 0.5) / (1 + 1 / np.log2(3)), "item_coverage@2": 2 / 12}
    assert cls.score(evidence, [*wanted, "recall@4"]) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="do not hold 99 items"):
        cls.score({**evidence, "n_items": np.array(99)}, ["recall@1"])


def test_an_nll_is_of_as_many_images_as_its_key_says() -> None:
    cls = find("task", "generation/mnist").load()
    moments = {
        name: np.eye(2) if "cov" in name else np.zeros(2) for name in ("real_mean", "real_covariance", "fake_mean", "fake_covariance")
    }
    evidence = {"elbo": np.full(5, -3.0, np.float32), "log_evidence": np.array([-1.0, -3.0], np.float32), **moments}
    asked = ["elbo[n=5]", "elbo[n=4]", "nll[k=9,n=2]", "nll[k=9,n=20]", "nll[k=2]", "bits_per_dim[k=9,n=2]", "elbo/part", "fd[net,n=7]"]
    assert cls.score(evidence, asked) == {"elbo[n=5]": -3.0, "nll[k=9,n=2]": 2.0, "fd[net,n=7]": pytest.approx(0.0, abs=1e-9)}


def test_what_arrays_state_is_in_the_key() -> None:
    generation, density = find("task", "generation/mnist").load(), find("task", "density/digits").load()
    bound = {"log_evidence": np.array([-1.0, -3.0]), "nll_k": np.array(8)}
    assert generation.score(bound) == {"nll[k=8,n=2]": 2.0} and generation.score(bound, ["nll[k=9,n=2]"]) == {}
    assert density.score({"log_evidence": bound["log_evidence"], "k": np.array(8)}) == {"nll[k=8]": 2.0}
    older = {"log_evidence": bound["log_evidence"]}
    assert density.score(older) == {} and density.score(older, ["nll[k=9]", "nll[k=9,n=1]", "nll/part"]) == {"nll[k=9]": 2.0}


def test_features_become_moments_that_are_kept_where_they_fit() -> None:
    cls = find("task", "generation/mnist").load()
    rng = np.random.default_rng(0)

    def seen(width: int) -> dict[str, np.ndarray]:
        features = {f"{of}_features": rng.normal(size=(600, width)) for of in ("real", "fake")}
        both = {of[:4]: f for of, f in features.items()}
        moments = {f"{of}_mean": f.mean(0) for of, f in both.items()} | {f"{of}_covariance": np.cov(f.T) for of, f in both.items()}
        return {**features, **moments, "fd[net]": np.array(600), "log_evidence": np.zeros(3), "nll_k": np.array(8)}

    few, many = seen(8), seen(128)
    names = {"fd[net,n=600]", "kid[net,n=600]", "gen_precision[net,n=600]", "gen_recall[net,n=600]", "nll[k=8,n=3]"}
    assert set(cls.score(few)) == names and cls.score(cls.compact(few)).keys() == {"fd[net,n=600]", "nll[k=8,n=3]"}
    assert cls.score(cls.compact(few))["fd[net,n=600]"] == pytest.approx(cls.score(few)["fd[net,n=600]"], abs=1e-3)
    assert cls.score(cls.compact(many)) == {"nll[k=8,n=3]": 0.0}


def test_few_codes_tell_nothing_of_the_mutual_information() -> None:
    cls = find("task", "generation/mnist").load()
    codes = {f"code_{name}": np.random.default_rng(0).normal(size=(2000, 50)) for name in ("mean", "logvar", "noise")}
    observed = {**codes, "squared_error": np.ones((2000, 1, 4, 4), np.float32), "log_evidence": np.zeros(1000), "nll_k": np.array(8)}
    full, evidence = cls.score(observed), cls.compact(observed)
    assert {"active_units[n=2000]", "mse[n=2000]", "mutual_information[n=2000]", "nll[k=8,n=1000]"} <= set(full)
    assert evidence["kept_codes"].tolist() == [800, 2000] and "code_noise" not in evidence
    assert cls.score(evidence) == {"active_units[n=800]": 50.0, "mse[n=2000]": 1.0, "nll[k=8,n=1000]": 0.0} | {
        key: full[key] for key in full if key.startswith("bits")
    }


def test_coverage_is_of_all_users_or_not_at_all() -> None:
    cls = find("task", "recommendation/ml-100k").load()
    rng = np.random.default_rng(0)
    targets = rng.random((900, 400)) < 0.1
    observed = {"top": rng.integers(400, size=(900, 100)), "targets": np.packbits(targets, axis=1), "n_items": np.array(400)}
    evidence = cls.compact(observed)
    assert evidence["kept_users"].tolist() == [400, 900]
    assert set(cls.score(observed)) == {"recall@20", "recall@50", "ndcg@100", "item_coverage@100"}
    assert set(cls.score(evidence)) == {"recall@20[n=400]", "recall@50[n=400]", "ndcg@100[n=400]"}
    asked = ["ndcg@50[n=400]", "ndcg@50", "ndcg@50[n=300]", "item_coverage@50[n=400]"]
    assert set(cls.score(evidence, asked)) == {"ndcg@50[n=400]"} and cls.tolerance("ndcg@50[n=400]", evidence) == 1e-9


def test_test_sets_of_an_ood_task_are_cut_alike() -> None:
    cls = find("task", "ood/digits").load()
    rng = np.random.default_rng(0)
    sizes = {"id": 9000, "held-out": 9000, "inverted": 800, "noise": 9000}
    observed = {f"score_{name}": rng.normal(size=n) for name, n in sizes.items()}
    observed |= {
        "valid_id": rng.normal(size=50),
        "valid_jigsaw": rng.normal(size=50),
        "p": rng.dirichlet(np.ones(7), 9000),
        "y": np.arange(9000) % 7,
    }
    found = cls.score(cls.compact(observed))

    def key(name: str) -> str:
        return name if name == "auroc/validation" else of_examples(name, 2000 if "/" in name else 3000)

    assert found.keys() == set(map(key, cls.score(observed)))


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 20.0])
def test_half_precision_stays_within_the_tolerances(sharpness: float) -> None:
    rng = np.random.default_rng(0)
    p = torch.from_numpy(rng.normal(size=(3000, 10)) * sharpness).float().softmax(1).numpy()
    y = np.array([rng.choice(10, p=row / row.sum()) for row in p.astype(np.float64)])
    exact = classification_metrics(p, y)
    _agree("noisy/digits-sym40", exact, {"p": p.astype(np.float16), "y": y, **{f"train_{of}": y for of in ("given", "clean", "predicted")}})
    turned = {"angles": np.array([30]), "log_p_rot30": _log(p), "y_shift": y}
    _agree("calibration/mnist", exact, {"log_p": _log(p), "y": y, **turned})


def _agree(task: str, exact: Mapping[str, float], evidence: Mapping[str, np.ndarray]) -> None:
    cls = find("task", task).load()
    found = cls.score(evidence, exact)
    assert set(found) == set(exact)
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, abs=cls.tolerance(name, evidence)), (task, name)


def test_metrics_that_records_lack_follow_too() -> None:
    """What backfilling computes: the Brier score of the probabilities that the OOD tasks keep."""
    cls = find("task", "ood/digits").load()
    rng = np.random.default_rng(1)
    scores = {f"score_{name}": rng.normal(size=20) for name in ("id", "held-out", "inverted", "noise")}
    p, y = rng.dirichlet(np.ones(7), size=20).astype(np.float16), np.arange(20) % 7
    assert cls.score({**scores, "p": p, "y": y}, ["brier"]) == {"brier": pytest.approx(brier(p.astype(np.float64), y))}
    assert cls.score(scores, ["brier"]) == {}


def test_tolerance_counts_the_examples_of_the_slice() -> None:
    cls = find("task", "calibration/mnist").load()
    evidence = {"y": np.zeros(1000), "y_shift": np.zeros(100)}
    assert cls.tolerance("accuracy", evidence) == pytest.approx(0.003)
    assert cls.tolerance("accuracy/rot30", evidence) == cls.tolerance("accuracy/shift", evidence) == pytest.approx(0.03)
    assert find("task", "links/cora").load().tolerance("auc", evidence) == 1e-9
