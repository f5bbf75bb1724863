"""Fixtures: one thread, a fresh folder of runs, no network trackers."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture(autouse=True)
def _threads():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder of runs that ``elboard`` uses by default."""
    monkeypatch.setenv("ELBOARD_HOME", str(tmp_path / "runs"))
    return tmp_path / "runs"
