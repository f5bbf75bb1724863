"""Where a number comes from: software, source revision, hardware, data."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

PACKAGES = ("elboard", "torch", "pytorch-lightning", "torchmetrics", "numpy", "scipy", "scikit-learn", "omegaconf")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


@lru_cache(maxsize=1)
def revision() -> dict[str, str | bool]:
    """Git commit of the source tree and whether it has changes; empty outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {}
    status = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        said = subprocess.run(status, capture_output=True, text=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return {}
    commit = next((line.split()[-1] for line in said if line.startswith("# branch.oid ")), "")
    return {} if not commit else {"commit": commit, "dirty": any(not line.startswith("#") for line in said)}


def hardware() -> dict[str, str | int]:
    """Processor, cores, memory and accelerators. Imports torch."""
    import torch

    found: dict[str, str | int] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count() or 1}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        found["cpu"] = names[0] if names else ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
        found["gpus"] = torch.cuda.device_count()
    found["threads"] = torch.get_num_threads()
    return found
