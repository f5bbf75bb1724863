"""What drawing sequences costs by their length, in ratios: ``python tests/speed/sequences.py [DEVICE]``. Medians of draws in turn of 64
sequences each, of untrained models with the options of ``sequences/mnist-rows`` at lite, on one machine in one sitting; only the ratios
travel.

On one core a scan does its work one after the other, T log T of it, and what is saved is the overhead of T small steps; an accelerator has
room for all of it at once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from elboard.bench.kinds.likelihood import LikelihoodSpec  # noqa: E402
from elboard.bench.registry import discover  # noqa: E402

LENGTHS, AT_ONCE, REPETITIONS = (28, 196, 784), 64, 3
WAYS = {
    "vssm": ("vssm", {}),
    "vssm, loop": ("vssm", {"scan": "loop"}),
    "state-space, autoregressive": ("ar-sequence", {}),
    "transformer, autoregressive": ("ar-sequence", {"backbone": "transformer"}),
}


def seconds(device: str) -> dict[str, list[float]]:
    """Of each way at each length, the medians."""
    spec, models = LikelihoodSpec((LENGTHS[0], 28), 10, likelihood="bernoulli"), {}
    for way, (name, options) in WAYS.items():
        entry = discover("method")[name]
        models[way] = entry.load()(entry.config_class()(**{"width": 64, **options}), spec).to(device).eval()
    found = {way: [] for way in WAYS}
    for length in LENGTHS:
        took = {way: [] for way in WAYS}
        for _ in range(REPETITIONS):
            for way, model in models.items():
                of_length = model.resized(length).eval()
                of_length.sample(1)  # what is done once for a length and a device
                start = time.perf_counter()
                of_length.sample(AT_ONCE).sum().item()
                took[way].append(time.perf_counter() - start)
        for way in WAYS:
            found[way].append(float(np.median(took[way])))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured = seconds(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(f"{'':28}" + "".join(f"{length:>12}" for length in LENGTHS) + "      growth")
    for way, of in measured.items():
        print(f"{way:28}" + "".join(f"{1e3 * value:9.1f} ms" for value in of) + f"{of[-1] / of[0]:12.1f}")
    for way in [*WAYS][1:]:
        print(f"{way} over vssm".ljust(40) + "".join(f"{a / b:9.1f}" for a, b in zip(measured[way], measured["vssm"], strict=True)))
