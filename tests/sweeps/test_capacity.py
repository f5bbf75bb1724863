"""What a machine gives to runs: cores, GPUs and shares of them, with devices that are names only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elboard.bench.config import resolve
from elboard.sweeps.capacity import Capacity, fitted, gpus
from elboard.sweeps.engines.local import run_all
from elboard.sweeps.work import Resources

PLUGINS = Path(__file__).parents[1] / "plugins"


def test_two_halves_share_a_gpu_and_whole_ones_stay_whole() -> None:
    capacity = Capacity(8, {"0": 1.0, "1": 1.0})
    half = Resources(gpus=0.5)
    assert capacity.take(half) == ("0",) and capacity.take(half) == ("0",)
    assert capacity.take(Resources(gpus=1)) == ("1",)
    assert capacity.take(half) is None
    capacity.give(half, ("0",))
    assert capacity.take(half) == ("0",)
    assert capacity.cpus == 5 - 0


def test_several_gpus_and_cores() -> None:
    capacity = Capacity(4, {"a": 1.0, "b": 1.0})
    assert capacity.take(Resources(gpus=2, cpus=2)) == ("a", "b")
    assert capacity.take(Resources(cpus=3)) is None, "cores"
    assert capacity.take(Resources(cpus=2)) == ()


def test_a_run_that_needs_more_than_there_is_gets_all_of_it() -> None:
    assert fitted(Resources(cpus=99, gpus=4), Capacity(2, {"0": 1.0})) == Resources(cpus=2, gpus=1)
    assert fitted(Resources(gpus=0.5), Capacity(2)) == Resources(gpus=0.0)


@given(st.lists(st.sampled_from([0, 0.1, 0.25, 0.5, 1, 2]), max_size=30))
def test_no_gpu_is_promised_twice(wishes: list[float]) -> None:
    capacity, held = Capacity(100, dict.fromkeys("abc", 1.0)), []
    for gpus_wanted in wishes:
        need = Resources(gpus=gpus_wanted)
        names = capacity.take(need)
        if names is not None:
            held.append((need, names))
        used = {name: sum(min(n.gpus, 1.0) for n, names in held if name in names) for name in "abc"}
        assert all(share <= 1 + 1e-6 for share in used.values())
    for need, names in held:
        capacity.give(need, names)
    assert all(abs(share - 1) < 1e-6 for share in capacity.gpus.values()) and capacity.cpus == 100


def test_gpus_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, names in (("0,2", ["0", "2"]), ("", []), ("-1", []), ("GPU-8f3a, MIG-1", ["GPU-8f3a", "MIG-1"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert gpus() == names


NOTE = """

def note(where, name, n):
    if os.path.exists(f"{where}/{name}"):
        return
    with open(f"{where}/.{name}", "w") as file:
        json.dump([os.environ["CUDA_VISIBLE_DEVICES"], time.time()], file)
    os.replace(f"{where}/.{name}", f"{where}/{name}")
    end = time.monotonic() + 300
    while sum(other.endswith("-0") and other[0] != "." for other in os.listdir(where)) < n and time.monotonic() < end:
        time.sleep(0.02)
"""


@pytest.mark.parametrize(("share", "at_once"), [(1.0, 2), (0.5, 4)])
def test_every_worker_sees_its_own_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, at_once: int) -> None:
    """Each run notes which devices it sees and when; none goes on before as many have begun as there is room for."""
    plugin = tmp_path / "noting.py"
    text = (PLUGINS / "linear.py").read_text().replace('"test-linear"', '"test-noting"').replace("import time\n", "import json, os, time\n")
    text = text.replace("scale: float = 1.0", 'scale: float = 1.0\n        where: str = ""')
    text = text.replace("time.sleep(self.config.pause)", "note(self.config.where, f'{self.seed}-{self.current_epoch}', self.config.room)")
    plugin.write_text(text.replace('if 0 < self.config.room < len(batch["x"]):', "if False:") + NOTE)
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    options = {"where": str(tmp_path / "notes"), "room": at_once, "trainer.accelerator": "cpu", "train.epochs": 6}
    runs = [
        resolve("test/blobs", "test-noting", seed=seed, budget="smoke", overrides=options, paths=(str(PLUGINS), str(plugin)))
        for seed in range(6)
    ]
    outcomes = run_all(runs, tmp_path / "runs", jobs=4, resources={spec.key: Resources(gpus=share) for spec in runs})
    assert [outcome.state for outcome in outcomes] == ["done"] * 6
    notes = {file.name: json.loads(file.read_text()) for file in (tmp_path / "notes").iterdir()}
    assert {device for device, _ in notes.values()} == {"3", "7"}, "one GPU each, and both used"
    spans = [[when for name, (_, when) in notes.items() if name.startswith(f"{seed}-")] for seed in range(6)]
    most = max(sum(min(a) <= t <= max(a) for a in spans) for b in spans for t in b)
    assert most == at_once
