"""Generators in latents of Fashion-MNIST on 14 x 14 pixels: reconstruction, what a linear probe reads, and samples, of one run.

Protocol:

* A run trains a tokenizer and a generator of its latents, for as many epochs together for all methods, and the last epoch is kept. The
  generator knows classes, the tokenizer does not.
* ``psnr`` of reconstructions, mean over the first ``n_test`` test images; ``rfd``, their Frechet distance from the same images.
* ``probe_accuracy``: logistic regression on means of the latents over places, with classes of ``n_labelled`` training images, over the same
  test images. Of latents with more channels it sees more.
* ``fd``, the Frechet distance of ``samples`` samples, as many of each class, from the test images, without guidance: ``/s25`` in 25
  evaluations, ``/s5`` in 5, as ``steps`` says; ``fd_log`` its logarithm, ``fd_ratio/s5`` that of few steps over that of most.
* The feature network is the classifier of 28 x 28 pixels of ``samples/fashion14``, which sees the images scaled up.

At lite a run takes four minutes of one core, of which the transformer has two thirds.

Training images are the first ones of a permutation of which ``selfsup/fashion14`` has the last.

Evidence: moments of the features, in the axes of the covariance of the test images, where that is diagonal and distances are the same, with
correlations in 16 bits; sums of the PSNR and numbers of hits by twentieths of the test images. Metrics are of the moments as kept.

In the place of encoders of patches of natural images (DINOv2, ``facebook/dinov2-base``; DINOv3,
``facebook/dinov3-vits16plus-pretrain-lvd1689m``) methods have one trained by ``simclr`` on ``selfsup/fashion14``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.metrics.selfsup import linear_probe
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.loaders import fashion_mnist
from elboard.tasks.data.task import DataTask, halved, labelled, permutation, stand_in
from elboard.tasks.parts import features
from elboard.tasks.parts.moments import moments_of, packed, unpacked
from elboard.tasks.parts.pictures import grid

CARD = TaskCard(
    name="latents/fashion14",
    title="Generators in latents, Fashion-MNIST on 14 x 14 pixels",
    needs=("LatentGenerator",),
    primary="fd/s25",
    metrics=("fd/s25", "fd/s5", "fd_ratio/s5", "rfd", "psnr", "probe_accuracy"),
    selection="fd[fashion-cnn,n=500]",
    data=("fashion-mnist",),
    papers=("091", "107", "114"),
    full="27,000 of the training images for 200 epochs; no paper's own setting",
    work={"lite": (10_000, 71_000), "full": (27_000, 325_000)},
    examples={
        "smoke": {"psnr": 100, "rfd": 100, "probe_accuracy": 100, "fd*": "60 samples"},
        "lite": {"psnr": 5000, "rfd": 5000, "probe_accuracy": 5000, "fd*": "2,000 samples"},
        "full": {"psnr": 10_000, "rfd": 10_000, "probe_accuracy": 10_000, "fd*": "10,000 samples"},
    },
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 4, "batch_size": 100, "validate_every": 4},
        "task": {"n_train": 300, "n_valid": 100, "n_test": 100, "n_labelled": 100, "samples": 60},
        "method": {"width": 16, "depth": 1},
    },
    "lite": {"train": {"epochs": 16, "batch_size": 100, "validate_every": 8}},
    "full": {
        "train": {"epochs": 200, "batch_size": 100, "validate_every": 50},
        "task": {"n_train": 27_000, "n_valid": 5000, "n_test": 10_000, "n_labelled": 5000, "samples": 10_000},
        "method": {"width": 128, "depth": 4},
    },
}
NETWORK, BATCH, SELECT_N, GROUPS, LEAST = "fashion-cnn", 500, 500, 20, 1e-10


class LatentsFashion14(DataTask):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 10_000
        n_valid: Count = 2000
        n_test: Count = 5000
        n_labelled: Count = 1000
        samples: Count = 2000
        steps: list[Count] = field(default_factory=lambda: [5, 25])  # evaluations of a sample, rising

    def _source(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        x, y = stand_in(split) if self.budget == "smoke" else fashion_mnist(split)
        return halved(x), y

    def load_train(self) -> Data:
        c, (x, y) = self.config, self._source("train")
        order = permutation(len(y), 1)
        held_out, kept = order[: c.n_valid], order[c.n_valid :][: c.n_train]
        spec = ClassSpec((1, *x.shape[1:]), len(kept), n_classes=10)
        return Data(spec, labelled(x, y, kept), labelled(x, y, held_out))

    def load_test(self, data: Data) -> Test:
        return labelled(*self._source("test"), np.s_[: self.config.n_test])

    def over(self, of: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``of`` images or classes, in parts, on the CPU and in single precision."""
        with torch.no_grad():
            return torch.cat([of(part.to(self.device)).float().cpu() for part in x.split(BATCH)])

    def features(self, x: Tensor) -> np.ndarray:
        return self.over(features.load(NETWORK, self.device)[2], x.clamp(0, 1)).numpy().astype(np.float64)

    def samples(self, method: Any, n: int, steps: int) -> Tensor:
        return self.over(lambda y: method.drawn(y, steps), torch.arange(n) % 10)

    def hits(self, method: Any, data: Data, x: Tensor, y: Tensor) -> np.ndarray:
        """Whether the probe is right of images ``x`` (N, ...) of classes ``y``."""

        def means(of: Tensor) -> np.ndarray:
            return self.over(lambda part: method.latents(part).mean((2, 3)), of).numpy()

        few = {name: value[: self.config.n_labelled].cpu() for name, value in data.train.items()}
        p = linear_probe(means(few["x"]), few["y"].numpy(), means(x), data.spec.n_classes)
        return p.argmax(1) == y.numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        x, y = (data.valid[name][:SELECT_N] for name in ("x", "y"))
        with torch.random.fork_rng(devices=[]):
            drawn = {steps: self.features(self.samples(method, SELECT_N, steps)) for steps in sorted({*self.config.steps})}
        real = moments_of(self.features(data.valid["x"]))
        found = {f"fd[fashion-cnn,n=500]/s{steps}": frechet_distance(*real, *moments_of(of)) for steps, of in drawn.items()}
        quality = psnr(self.over(method.reconstructed, x), x).mean()
        probe = {"probe_accuracy": float(self.hits(method, data, x, y).mean())}
        return {CARD.selection: [*found.values()][-1], **found, "psnr": float(quality), **probe}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c, x, y = self.config, test["x"], test["y"]
        distance, network, _ = features.load(NETWORK, self.device)
        again = self.over(method.reconstructed, x)
        drawn = {steps: self.samples(method, c.samples, steps) for steps in sorted({*c.steps})}
        seen = {"again": again} | {f"s{steps}": of for steps, of in drawn.items()}
        arrays = kept_moments(self.features(x), {name: self.features(of) for name, of in seen.items()})
        groups = np.array_split(np.arange(len(x)), min(GROUPS, len(x)))
        for name, of in (("quality", psnr(again, x)), ("hits", self.hits(method, data, x, y).astype(np.float64))):
            arrays[name] = np.array([of[group].sum() for group in groups])
        stated = {"n": np.array(len(x)), "samples": np.array(c.samples), "steps": np.array([*drawn]), f"{distance}[{network}": np.array(1)}
        pairs = torch.stack([x[:15], again[:15]], 1).flatten(0, 1)
        pictures = {"reconstructions": grid(pairs, 10), **{f"samples_{steps}": grid(of[:30], 10) for steps, of in drawn.items()}}
        return Observed(arrays | stated, pictures)

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        network = next(name for name in observed if name.startswith("fd[")).partition("[")[2]
        n, steps = int(observed["n"]), observed["steps"].tolist()
        real = observed["real_mean"], np.diag(observed["real_variance"])
        covariances = unpacked(observed, ("again", *(f"s{of}" for of in steps)))
        to = {name[: -len("_covariance")]: of for name, of in covariances.items()}
        far = {name: frechet_distance(*real, observed[f"{name}_mean"], of) for name, of in to.items()}
        found = {"psnr": float(observed["quality"].sum() / n), "probe_accuracy": float(observed["hits"].sum() / n)}
        found[f"rfd[{network},n={n}]"] = far.pop("again")
        stated = f"[{network},n={int(observed['samples'])}]"
        for name, value in far.items():
            found |= {f"fd{stated}/{name}": value, f"fd_log{stated}/{name}": float(np.log(max(value, LEAST)))}
        most = far[f"s{steps[-1]}"]
        return found | {f"fd_ratio{stated}/s{of}": far[f"s{of}"] / max(most, LEAST) for of in steps[:-1]}

    @classmethod
    def compact(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All of it: 14 KB with two numbers of steps."""
        return dict(observed)


def psnr(y: Tensor, x: Tensor) -> np.ndarray:
    """Of images ``y`` for ``x`` (N, ...), (N,), with a peak of 1; at most 100 dB."""
    error = (y.clamp(0, 1) - x).flatten(1).double().square().mean(1)
    return (-10 * torch.log10(error.clamp_min(LEAST))).numpy()


def kept_moments(real: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Moments of features (N, D) by name, in the axes of the covariance of ``real``, of which these are ``real_mean`` and
    ``real_variance``; in single precision and correlations in 16 bits."""
    variance, axes = np.linalg.eigh(moments_of(real)[1])
    found = {"real_mean": (real.mean(0) @ axes).astype(np.float32), "real_variance": variance.clip(0).astype(np.float32)}
    for name, of in others.items():
        mean, covariance = moments_of(of @ axes)
        found |= {f"{name}_mean": mean.astype(np.float32), **packed(name, covariance)}
    return found
