"""Fixtures: one thread, a fresh folder of runs, no network trackers."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

PLUGINS = Path(__file__).parent / "plugins"

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no defect
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c():
    """A shell starts its background jobs with SIGINT ignored, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _records_stay():
    """No test writes into the records that ship."""
    files = sorted((Path(__file__).parents[1] / "results" / "records").rglob("*.jsonl"))
    before = [(file, file.stat().st_mtime_ns) for file in files]
    yield
    changed = [str(file) for file, when in before if not file.exists() or file.stat().st_mtime_ns != when]
    assert not changed, f"a test has written into records that ship: {changed}"


@pytest.fixture(autouse=True)
def _threads():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder of runs that ``elboard`` uses by default."""
    monkeypatch.setenv("ELBOARD_HOME", str(tmp_path / "runs"))
    return tmp_path / "runs"
