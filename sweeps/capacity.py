"""What a machine has to give, and what of it is free."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from elboard.sweeps.work import Resources


def cores() -> int:
    """Usable cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that this process may use: ``CUDA_VISIBLE_DEVICES`` where it is set, else all that the driver lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    found = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30)
    return found.stdout.split() if found.returncode == 0 else []


@dataclass
class Capacity:
    """What is free: cores, and the free share of each GPU."""

    cpus: int
    gpus: dict[str, float] = field(default_factory=dict)

    def take(self, need: Resources) -> tuple[str, ...] | None:
        """Reserve ``need``: the names of its GPUs, or None where it does not fit. A run that needs more than there is gets all of it."""
        share, count = (need.gpus, 1) if 0 < need.gpus < 1 else (1.0, int(need.gpus))
        # the fullest that still has room, so that whole GPUs stay whole
        free = sorted((left, name) for name, left in self.gpus.items() if left >= share - 1e-9)
        if need.cpus > self.cpus or len(free) < count:
            return None
        names = tuple(name for _, name in free[:count])
        self.cpus -= need.cpus
        for name in names:
            self.gpus[name] -= share
        return names

    def give(self, need: Resources, names: Sequence[str]) -> None:
        """Undo :meth:`take`."""
        self.cpus += need.cpus
        for name in names:
            self.gpus[name] += need.gpus if need.gpus < 1 else 1.0


def fitted(need: Resources, capacity: Capacity) -> Resources:
    """``need``, cut down to what the machine has: it is better to try than never to start."""
    whole = min(need.gpus, float(len(capacity.gpus)))
    return Resources(min(need.cpus, capacity.cpus), whole, need.memory, need.time)
