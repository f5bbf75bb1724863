"""What a run costs: seconds, memory, parameters, floating-point operations."""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path
from typing import Any


class Meter:
    """Wall and CPU seconds and peak memory since its construction.

    Peak memory is that of this run alone where Linux lets the high-water mark be reset, else that of the process.
    """

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu_seconds()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def read(self) -> dict[str, float]:
        cost = {"wall_s": time.perf_counter() - self.wall, "cpu_s": _cpu_seconds() - self.cpu, "peak_memory_mib": _peak_mib()}
        import torch

        if torch.cuda.is_available():
            cost["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return {name: round(value, 3) for name, value in cost.items()}


def _cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _peak_mib() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def count_parameters(method: Any) -> int:
    """Trainable parameters, those of a post-hoc method's base included."""
    own = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return own + (count_parameters(method.base) if method.base is not None else 0)


def flops_per_example(method: Any, batch: dict) -> float | None:
    """Floating-point operations of one forward and backward pass of ``loss``, per example, by torch's counter.

    None for a method without a gradient loss. The random state and the gradients are left as they were.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    parameters = [p for p in method.parameters() if p.requires_grad]
    if type(method).fit is not _default_fit() or not parameters:
        return None
    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
        was_training, buffers = method.training, {name: buffer.clone() for name, buffer in method.named_buffers()}
        method.train()
        torch.autograd.grad(method.loss(batch)["loss"], parameters, allow_unused=True)
        method.train(was_training)
    for name, buffer in method.named_buffers():
        buffer.copy_(buffers[name])
    return counter.get_total_flops() / len(next(iter(batch.values())))


def _default_fit() -> Any:
    from bench.method import Method

    return Method.fit
