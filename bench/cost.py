"""What a run costs: seconds, memory, parameters, floating-point operations."""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from elboard.bench.batches import size
from elboard.bench.method import Method

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Wall and CPU seconds, peak memory and, where counters can be read, energy since its construction.

    Peak memory is that of this run alone where Linux lets the high-water mark be reset, else that of the process. Energy is what whole
    devices took: ``energy_cpu_j`` of all processor packages (RAPL), ``energy_gpu_j`` of the GPUs that this process sees (NVML); other
    work on them at the time is counted in.
    """

    def __init__(self) -> None:
        self.packages, self.gpus = package_energy(), gpu_energy()
        self.wall, self.cpu = time.perf_counter(), _cpu_seconds()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def read(self) -> dict[str, float]:
        cost = {"wall_s": time.perf_counter() - self.wall, "cpu_s": _cpu_seconds() - self.cpu, "peak_memory_mib": _peak_mib()}
        if torch.cuda.is_available():
            cost["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        cost |= energy_since(self.packages, package_energy(), "energy_cpu_j") | energy_since(self.gpus, gpu_energy(), "energy_gpu_j")
        return {name: round(value, 3) for name, value in cost.items()}


def together(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """The cost of a run that was interrupted after ``before`` and then took ``after``: sums of seconds and joules, the larger of peaks.

    Energy that one of them could not measure is unknown; all other names are the later ones'.
    """
    if not before:
        return after
    summed = {name for name in {*before, *after} if name in ("wall_s", "cpu_s", "train_s") or name.startswith("energy_")}
    total = {name: value for name, value in after.items() if name not in summed}
    total |= {name: round(before[name] + after[name], 3) for name in sorted(summed) if name in before and name in after}
    return total | {name: max(before[name], after[name]) for name in total if name.startswith("peak_") and name in before}


Counters = dict[str, tuple[float, float]]  # name -> joules so far, and the value at which the counter starts again (0: never)


def package_energy(root: Path = POWERCAP) -> Counters:
    """Energy counters of the processor packages by Linux's powercap; empty where they are absent or only root may read them."""
    found: Counters = {}
    try:
        for zone in sorted(root.glob("intel-rapl:[0-9]*")):
            if zone.name.count(":") == 1:  # a package; a second number is a part of one
                found[zone.name] = tuple(int((zone / name).read_text()) / 1e6 for name in ("energy_uj", "max_energy_range_uj"))
    except (OSError, ValueError):
        return {}
    return found


def gpu_energy() -> Counters:
    """Energy counters of the visible NVIDIA GPUs; empty without the package ``nvidia-ml-py`` or on GPUs that have none."""
    if not torch.cuda.is_available():
        return {}
    try:
        import pynvml

        pynvml.nvmlInit()
        ids = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
        handles = {name: pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{name}".encode()) for name in ids}
        return {name: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, 0.0) for name, handle in handles.items()}
    except Exception:  # a missing package, driver or counter: energy is then unknown, which must not fail a run
        return {}


def energy_since(before: Counters, after: Counters, name: str) -> dict[str, float]:
    """``{name: joules}`` between two readings of the same counters, which may have started again once; empty if there is no counter."""
    if not before or set(before) != set(after):
        return {}
    used = [after[key][0] - start for key, (start, _) in before.items()]
    return {name: sum(u if u >= 0 else u + limit for u, (_, limit) in zip(used, before.values(), strict=True))}


def _cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _peak_mib() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def count_parameters(method: Any) -> int:
    """Trainable parameters, those of what it starts from included."""
    own = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return own + sum(map(count_parameters, method.all_bases()))


def flops_per_example(method: Any, batch: dict) -> float | None:
    """Floating-point operations of one forward and backward pass of ``loss``, per example (per batch where batches are empty), by torch's
    counter.

    None for a method without a gradient loss. The random state and the gradients are left as they were.
    """
    parameters = [p for p in method.parameters() if p.requires_grad]
    if type(method).fit is not Method.fit or not parameters:
        return None
    was_training, buffers = method.training, {name: buffer.clone() for name, buffer in method.named_buffers()}
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
        method.train()
        # not torch.autograd.grad, in which the counter cannot hook a leaf that a module takes, such as a weight that is normed
        method.checked_loss(batch)["loss"].backward(inputs=parameters)
        method.train(was_training)
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient
    for name, buffer in method.named_buffers():
        buffer.copy_(buffers[name])
    return counter.get_total_flops() / size(batch)
