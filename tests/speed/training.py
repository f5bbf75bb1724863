"""What a training costs beside a bare loop: ``python tests/speed/training.py [PAIRS [TASK/METHOD ...]]``. Processor time of one thread, of
one machine in one sitting; only the ratios travel.

Both train the same module on the same batches with the same fused optimiser, schedule and clipping, in turn, and must come to the same
weights bit for bit. Neither validates or saves; the first epoch, in which libraries warm up, counts for neither.
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from elboard.bench import training as trainings  # noqa: E402
from elboard.bench.config import RunSpec, resolve  # noqa: E402
from elboard.bench.epochs import seed_torch  # noqa: E402
from elboard.bench.run import Loaded, build, seed_everything  # noqa: E402

PAIRS, SECONDS = 9, 1.0  # of a bare loop


class Case(NamedTuple):
    """A run, and the ratio that is aimed at."""

    task: str
    method: str
    aim: float
    set: dict[str, Any] = {}


CASES = [
    Case("generation/mnist", "vae", 1.05),
    Case("generation/digits", "vae", 1.10),
    Case("ood/digits", "softmax", 1.10),
    Case("recommendation/ml-100k", "mult-vae", 1.05),
]


def specification(case: Case, epochs: int) -> RunSpec:
    options = {"trainer.accelerator": "cpu", "train.epochs": epochs, "train.validate_every": 0, **case.set}
    return resolve(case.task, case.method, budget="lite", overrides=options)


def fresh(spec: RunSpec, data: Any) -> Loaded:
    loaded = build(spec, None, data)
    loaded.task.validate = lambda method, data: {}
    seed_everything(spec.seed)
    return loaded


def platform(spec: RunSpec, data: Any) -> tuple[float, Any]:
    """Processor seconds of all epochs but the first, and the trained method."""
    task, data, method = fresh(spec, data)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        training = trainings.Training(task, data, spec.config, spec.seed, Path(folder), lambda event: ends.append(time.process_time()))
        method.fit(data, training)
    return ends[-1] - ends[0], method


def bare(spec: RunSpec, data: Any) -> tuple[float, Any]:
    """The same of a loop with nothing in it but the training."""
    task, data, method = fresh(spec, data)
    batches, epochs, clip = task.batches(data, spec.config["train"], spec.seed), spec.config["train"]["epochs"], method.config.clip
    optimizer, steps, start = method.make_optimizer(method.parameter_groups()), len(batches), 0.0
    scheduled = method.config.schedule != "constant" or method.config.warmup > 0
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: method.lr_factor(min(1.0, step / (epochs * steps))))
    for epoch in range(epochs):
        batches.epoch = lambda epoch=epoch: epoch
        seed_torch(method.epoch_seed(epoch))
        for i, batch in enumerate(batches):
            method.progress = (epoch * steps + i) / (epochs * steps)
            loss = method.loss(batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            if clip > 0:
                torch.nn.utils.clip_grad_norm_(method.parameters(), clip)
            optimizer.step()
            if scheduled:
                rates.step()
        if epoch == 0:
            start = time.process_time()
    return time.process_time() - start, method


def row(case: Case, pairs: int) -> None:
    """Print the ratio of ``case``: the median of pairs that begin with one and with the other in turn, their range, times a step."""
    short = specification(case, 3)
    data = build(short).data
    epochs = 1 + max(2, round(SECONDS / bare(short, data)[0] * 2))
    spec, ratios, seconds = specification(case, epochs), [], []
    for pair in range(pairs):
        found = {way: way(spec, data) for way in ((platform, bare) if pair % 2 else (bare, platform))}
        (ours, one), (floor, other) = found[platform], found[bare]
        for name, value in one.state_dict().items():
            assert value.equal(other.state_dict()[name]), f"{case}: {name} differs"
        ratios.append(ours / floor)
        seconds.append((ours, floor))
    steps = (epochs - 1) * len(build(spec, None, data).task.batches(data, spec.config["train"], spec.seed))
    ours, floor = np.median(seconds, axis=0) / steps * 1e6
    name = f"{case.task}/{case.method}"
    print(
        f"{name:34} {np.median(ratios):6.3f} {min(ratios):6.3f} {max(ratios):6.3f} {case.aim:6.2f} {ours:10.0f} {floor:10.0f}", flush=True
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    trainings.SAVE_EVERY = trainings.SAVE_WITHIN = math.inf
    torch.use_deterministic_algorithms(True, warn_only=True)
    wanted = sys.argv[2:]
    print(f"{'':34} {'ratio':>6} {'least':>6} {'most':>6} {'aim':>6} {'us a step':>10} {'bare':>10}")
    for case in CASES:
        if not wanted or f"{case.task}/{case.method}" in wanted:
            row(case, int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS)
