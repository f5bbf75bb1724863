"""Grey MNIST: what autoencoders make of their own images, by the weight of the KL term (Chou 2019; Chou and Hathi 2019).

A method has models for several weights beta; l is their loss, -E_q[log p(x|z)] + beta KL, of grey images by their cross-entropy. By beta,
as slices ``/beta1``:

* ``test_loss`` of the test images, ``generated_loss`` G of as many decoded means of prior samples, ``generated_gap`` their difference;
  ``test_excess`` and ``generated_excess`` without the images' own entropy, which is the loss that grey pixels have at least and is larger
  for blurred ones; ``sampled_loss`` of binary samples, x ~ p(x|z). G is low for a collapsed model, so that ``active_units``, the
  ``class_entropy`` of samples and ``gen_recall`` stand beside it. ``excess_gap`` is the gap without the images' own entropy on both
  sides. ``gap_growth`` is that of G minus the loss of validation images between the first and the last of the validated epochs (after
  4 and 20 at lite), and ``training_fall`` the first epoch's training loss, summed over the models, minus the last's.
* ``fd`` of samples in features of the judge, a classifier of real MNIST images that no method sees.
* Repeated encoding and decoding, x_{t+1} = D(mu(x_t)) from test images x_0, slices ``/beta1-t10``: ``judge_confidence`` and
  ``accuracy``, ``iterated_loss``, ``iterated_excess`` without the images' own entropy, the ``class_distance`` from the mean training
  image of the class. Gains are from x_0 on; ``/beta1-t1to10`` from the first decoded image on.
* Over the grid: ``crosses`` and ``crossing_fd``.

The primary metric is the test loss at beta = 1, the negative evidence bound, which also selects: none of the others is a merit by itself.

Evidence: means over images, by weight, of what the metrics consist of. Distances need features: only running the method again checks them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.metrics.generation import frechet_distance, precision_recall
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DataTask, images, permutation, stand_in
from elboard.tasks.parts.features import small_network
from elboard.tasks.parts.moments import moments_of
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="reencoding/mnist",
    title="What autoencoders make of their own images, grey MNIST",
    needs=("Reencoder",),
    primary="test_loss/beta1",
    metrics=("test_loss/beta1", "generated_loss/beta1", "generated_gap/beta1", "fd/beta1", "gen_recall/beta1", "confidence_gain/beta1-t10"),
    selection="test_loss/beta1",
    data=("mnist",),
    papers=("010", "048"),
    full="50,000 training images for 100 epochs instead of 10,000 for 20, and all test images; no paper's own setting",
    work={"lite": (10_000, 22_000), "full": (50_000, 110_000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 100}, "task": {"n_train": 600, "n_valid": 100, "n_test": 100}},
    "lite": {"train": {"epochs": 20, "batch_size": 100, "validate_every": 4}},
    "full": {"train": {"epochs": 100, "batch_size": 100, "validate_every": 10}, "task": {"n_train": 50_000, "n_test": 10_000}},
}
BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
TIMES = (0, 1, 5, 10)
ITERATED = ("judge_confidence", "accuracy", "iterated_loss", "iterated_excess", "class_distance")
GAINS = (("judge_confidence", 1), ("iterated_loss", -1), ("iterated_excess", -1))  # and the sign that makes more of it better
NETWORK, ROWS = "mnist-cnn", 500


class ReencodingMNIST(DataTask):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 10_000
        n_valid: Count = 1000
        n_test: Count = 2000  # and as many samples

    def _labelled(self, split: str) -> tuple[Tensor, Tensor]:
        if self.budget == "smoke":
            x, y = stand_in(split)
        else:
            x, y = mnist(split)
        return images(x), torch.from_numpy(y)

    def _pool(self) -> tuple[Tensor, Tensor]:
        x, y = self._labelled("train")
        order = torch.from_numpy(permutation(len(x), 1))
        return x[order], y[order]

    def load_train(self) -> Data:
        c, (pool, _) = self.config, self._pool()
        train, valid = pool[c.n_valid :][: c.n_train].clone(), pool[: c.n_valid].clone()
        spec = BetaSpec(tuple(train.shape[1:]), len(train), likelihood="bernoulli", betas=BETAS)
        return Data(spec, {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        n = self.config.n_test
        x, y = self._labelled("test")
        pool, classes = self._pool()
        pool, classes = pool[self.config.n_valid :], classes[self.config.n_valid :]
        means = torch.stack([pool[classes == c].mean(0) for c in range(10)])
        return {"x": x[:n], "y": y[:n], "means": means}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        if 1.0 not in method.betas:
            raise UserError(f"betas={list(method.betas)}: {CARD.name} selects by the model of beta=1, which is not among them")
        x = data.valid["x"].to(self.device)
        there, own = losses(method, x), losses(method, method.decode(method.prior_codes(len(x))))
        found = {f"test_loss/{name_of(beta)}": there[i].mean().item() for i, beta in enumerate(method.betas)}
        return found | {f"generated_gap/{name_of(beta)}": (own - there)[i].mean().item() for i, beta in enumerate(method.betas)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        x = test["x"].to(self.device)
        network, judge = small_network(NETWORK)
        judge.to(self.device)
        arrays = {"betas": np.array(method.betas), "times": np.array(TIMES), "entropy": np.array(own_entropy(x).mean().item())}
        fake = method.decode(method.prior_codes(len(x)))
        for name, of in (("test", x), ("generated", fake), ("sampled", torch.bernoulli(fake))):
            arrays[name] = np.stack([_means(part) for part in method.terms(of)])  # (2, G)
        arrays["generated_entropy"] = _means(own_entropy(fake))
        arrays["unit_variance"] = _numpy(method.posteriors(x)[0].double().var(1, correction=0))
        arrays["real_features"] = _numpy(judge.features(x).double())
        arrays["classes"] = np.stack([np.bincount(judge(of).argmax(1).cpu().numpy(), minlength=10) / len(of) for of in fake])
        arrays |= {f"fake{i}_features": _numpy(judge.features(of).double()) for i, of in enumerate(fake)}
        keys = [f"valid/generated_gap/{name_of(beta)}" for beta in method.betas]
        arrays["gaps"] = np.array([[row[key] for key in keys] for row in history if keys[0] in row]).reshape(-1, len(keys))
        arrays["training"] = np.array([row["train/loss"] for row in history if "train/loss" in row])
        iterated, rows = self._iterated(method, x, test, judge)
        pictures = {"iterated": grid(torch.cat(rows), 10), "samples": grid(torch.cat([of[:10] for of in fake]), 10)}
        return Observed({**arrays, **iterated, f"fd[{network}]": np.array(len(x))}, pictures)

    def _iterated(self, method: Any, x: Tensor, test: Test, judge: Any) -> tuple[dict[str, np.ndarray], list[Tensor]]:
        """Means over images after each number of times, ``(T, G)``, and ten images of the model of beta = 1 after each."""
        y, means = test["y"].to(self.device), test["means"].to(self.device)
        now, found, rows = x.expand(len(method.betas), *x.shape), {}, []
        shown = min(range(len(method.betas)), key=lambda i: abs(method.betas[i] - 1))
        for t in range(TIMES[-1] + 1):
            if t in TIMES:
                p = torch.stack([torch.cat([judge(part) for part in of.split(ROWS)]).softmax(1) for of in now])
                seen = {
                    "judge_confidence": p.max(2).values,
                    "accuracy": (p.argmax(2) == y).double(),
                    "iterated_loss": (loss := losses(method, now)),
                    "iterated_excess": loss - own_entropy(now),
                    "class_distance": (now - means[y]).flatten(2).norm(dim=2),
                }
                found = {name: [*found.get(name, []), _means(value)] for name, value in seen.items()}
                rows.append(now[shown, :10])
            now = method.decode(method.posteriors(now)[0])
        return {name: np.stack(values) for name, values in found.items()}, rows

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        betas, times = observed["betas"], observed["times"].tolist()
        loss = {name: observed[name][0] + betas * observed[name][1] for name in ("test", "generated", "sampled")}
        gap = loss["generated"] - loss["test"]
        by_beta = {f"{name}_loss": of for name, of in loss.items()} | {
            "generated_kl": observed["generated"][1],
            "kl": observed["test"][1],
            "generated_gap": gap,
            "test_excess": loss["test"] - observed["entropy"],
            "generated_excess": loss["generated"] - observed["generated_entropy"],
            "active_units": (observed["unit_variance"] > 0.01).sum(1),
            "class_entropy": -(observed["classes"] * np.log(np.maximum(observed["classes"], 1e-12))).sum(1),
        }
        if len(observed["gaps"]) > 1:
            by_beta["gap_growth"] = observed["gaps"][-1] - observed["gaps"][0]
        by_beta["excess_gap"] = by_beta["generated_excess"] - by_beta["test_excess"]
        fd = _distances(observed)
        by_beta |= fd
        slices = [name_of(beta) for beta in betas.tolist()]
        found = {f"{key}/{of}": float(value) for key, values in by_beta.items() for of, value in zip(slices, values, strict=True)}
        if len(observed["training"]) > 1:
            found["training_fall"] = float(observed["training"][0] - observed["training"][-1])
        if betas[0] < betas[-1]:
            found["crosses"] = float(gap[0] > 0 > gap[-1])
            found |= {f"crossing_{key}": float(of[np.abs(gap).argmin()] / of.min()) for key, of in fd.items() if key.startswith("fd")}
        for i, of in enumerate(slices):
            found |= _gains({name: observed[name][:, i] for name in ITERATED}, times, of)
        return found

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array for name, array in observed.items() if not name.endswith("_features")}


def _distances(observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of the run itself, by weight: the Frechet distance of samples, and the recall of the test images."""
    if "real_features" not in observed:
        return {}
    said = next(name for name in observed if name.startswith("fd["))
    real, fakes = observed["real_features"], [observed[f"fake{i}_features"] for i in range(len(observed["betas"]))]
    moments = [moments_of(f) for f in (real, *fakes)]
    of, n = said[3:-1], int(observed[said])
    recall = np.array([precision_recall(real, f)[1] for f in fakes])
    return {f"fd[{of},n={n}]": np.array([frechet_distance(*moments[0], *m) for m in moments[1:]]), f"gen_recall[{of},n={n}]": recall}


def _gains(by_time: Mapping[str, np.ndarray], times: list[int], of: str) -> dict[str, float]:
    """What becomes of images that are encoded and decoded again and again by one model."""
    found = {f"{name}/{of}-t{t}": float(value) for name, values in by_time.items() for t, value in zip(times, values, strict=True)}
    first, last = times.index(1), times[-1]
    for name, sign in GAINS:
        values, key = sign * by_time[name], f"{name.removeprefix('judge_').removesuffix('_loss')}_gain"
        found |= {f"{key}/{of}-t{t}": float(value - values[0]) for t, value in zip(times[2:], values[2:], strict=True)}
        found[f"{key}/{of}-t1to{last}"] = float(values[-1] - values[first])
    return found


def losses(method: Any, x: Tensor) -> Tensor:
    """``(G, B)``: the loss of each model with its own weight."""
    reconstruction, kl = method.terms(x)
    return reconstruction + torch.tensor(method.betas, device=kl.device)[:, None] * kl


def own_entropy(x: Tensor) -> Tensor:
    """Of images ``(..., C, H, W)`` the entropy of their pixels as probabilities, in nats: the least cross-entropy that they have."""
    p = x.double().clamp(1e-12, 1 - 1e-12)
    return -(p * p.log() + (1 - p) * (-p).log1p()).flatten(-3).sum(-1)


def name_of(beta: float) -> str:
    return f"beta{beta:g}"


def _numpy(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()


def _means(x: Tensor) -> np.ndarray:
    """Over the images ``(G, B)``, in double precision."""
    return _numpy(x.double().mean(1))
