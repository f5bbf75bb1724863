"""``doctor``: what is here, what is missing, what is in the way."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def print_doctor(out: Path | None) -> None:
    """Versions, devices, packages that shadow ours, data, the folder of runs, trackers."""
    import torch

    from elboard.bench.provenance import hardware, revision, versions
    from elboard.bench.run import root_folder

    for name, number in versions().items():
        print(f"{name}: {number}")
    source = revision()
    print(f"source: {source['commit'][:12]}{' with changes' if source['dirty'] else ''}" if source else "source: installed package")
    for name, value in hardware().items():
        print(f"{name}: {value}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"accelerators: {', '.join(devices) if devices else 'mps' if torch.backends.mps.is_available() else 'none, runs use the CPU'}")
    root = root_folder(out).resolve()
    parent = root if root.exists() else next(folder for folder in root.parents if folder.exists())
    print(f"runs: {root} ({'writable' if os.access(parent, os.W_OK) else 'NOT writable: give another with --out or ELBOARD_HOME'})")
    _print_data()
    _print_extras()


def _print_data() -> None:
    from elboard.tasks.data.fetch import available, describe

    print(f"ELBOARD_DATA: {os.environ.get('ELBOARD_DATA', 'not set')}")
    names = [entry["name"] for entry in describe()]
    here = [name for name in names if available(name)]
    print(f"data here: {', '.join(here) or 'none'}")
    missing = [name for name in names if name not in here]
    if missing:
        print(f"data not here, fetched when needed: {', '.join(missing)}")


def _print_extras() -> None:
    for package, use in (("wandb", "the tracker wandb"), ("ray", "sweeps on Ray")):
        if importlib.util.find_spec(package) is None:
            print(f"not installed: {package} ({use})")
