"""Metrics that accumulate, of shares of the examples: ``accumulating.py FOLDER RANK WORLD`` is one of the processes that meet in FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from elboard.bench.metrics import accumulated, calibration
from elboard.bench.metrics.codes import code_perplexity
from elboard.bench.metrics.generation import frechet_distance
from elboard.bench.metrics.likelihood import active_units

N, CLASSES, WIDTH, CODES = 501, 4, 6, 9
REFERENCE = np.full(WIDTH, 1e4), np.diag(np.arange(1.0, 1 + WIDTH))


def data() -> dict[str, Tensor]:
    """Probabilities and classes, rows of features far from zero, posterior means, and codes."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(N, WIDTH, generator=draw, dtype=torch.float64)
    p = (2 * torch.randn(N, CLASSES, generator=draw)).softmax(1)
    p[:3] = torch.eye(CLASSES)[0]  # sure: of the last bin
    return {
        "p": p,
        "y": torch.randint(CLASSES, (N,), generator=draw),
        "rows": rows @ torch.randn(WIDTH, WIDTH, generator=draw, dtype=torch.float64) + 1e4,
        "means": rows * torch.tensor([1, 0.5, 0.12, 0.08, 0.01, 0.0]),
        "codes": torch.randint(CODES, (N, 2, 3), generator=draw),
    }


def metrics() -> dict[str, tuple[Metric, tuple[str, ...]]]:
    """Each with the data that it takes."""
    of_classes = (calibration.accuracy, calibration.class_nll, calibration.brier)
    return {score.__name__: (accumulated.ExampleMean(score), ("p", "y")) for score in of_classes} | {
        "entropy": (accumulated.ExampleMean(calibration.entropy), ("p",)),
        "ece": (accumulated.CalibrationError(), ("p", "y")),
        "classwise_ece": (accumulated.ClasswiseCalibrationError(CLASSES), ("p", "y")),
        "frechet_distance": (accumulated.FrechetDistance(*REFERENCE), ("rows",)),
        "moments": (accumulated.Moments(WIDTH), ("rows",)),
        "active_units": (accumulated.ActiveUnits(WIDTH), ("means",)),
        "code_perplexity": (accumulated.CodePerplexity(CODES), ("codes",)),
    }


def at_once() -> dict[str, list[float]]:
    """What they are, by NumPy from all examples."""
    arrays = {name: (values.double() if values.is_floating_point() else values).numpy() for name, values in data().items()}
    mean, covariance = arrays["rows"].mean(0), np.cov(arrays["rows"], rowvar=False)
    one = calibration.classification_metrics(arrays["p"], arrays["y"]) | {
        "frechet_distance": frechet_distance(*REFERENCE, mean, covariance),
        "active_units": float(active_units(arrays["means"])),
        "code_perplexity": code_perplexity(np.bincount(arrays["codes"].ravel(), minlength=CODES)),
    }
    return {name: [one[name]] for name in metrics() if name in one} | {"moments": [*mean.tolist(), *covariance.ravel().tolist()]}


def numbers(value: Tensor | tuple[Tensor, ...]) -> list[float]:
    return torch.cat([part.double().flatten() for part in (value if isinstance(value, tuple) else (value,))]).tolist()


def in_parts(parts: list[Tensor]) -> dict[str, list[float]]:
    """What they are of batches, each of the examples of one of ``parts``."""
    found, given = {}, data()
    for name, (metric, takes) in metrics().items():
        for part in parts:
            metric.update(*(given[of][part] for of in takes))
        found[name] = numbers(metric.compute())
    return found


def main(folder: Path, rank: int, world: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    of_rank = torch.arange(N) if world == 1 else torch.arange(N).tensor_split([160])[rank]  # unequal, as is the number of their batches
    (folder / f"{rank}.json").write_text(json.dumps(in_parts(list(of_rank.split(50)))))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
