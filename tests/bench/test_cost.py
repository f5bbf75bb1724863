"""Energy and operations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from elboard.bench.cost import energy_since, flops_per_example, package_energy, together
from elboard.bench.method import Method


def zone(root: Path, name: str, used: int, limit: int = 1_000_000_000) -> None:
    (root / name).mkdir()
    (root / name / "energy_uj").write_text(f"{used}\n")
    (root / name / "max_energy_range_uj").write_text(f"{limit}\n")


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    for name, used in (("intel-rapl:0", 5_000_000), ("intel-rapl:0:0", 3_000_000), ("intel-rapl:1", 7_000_000)):
        zone(tmp_path, name, used)
    assert package_energy(tmp_path) == {"intel-rapl:0": (5.0, 1000.0), "intel-rapl:1": (7.0, 1000.0)}


def test_a_counter_that_started_again() -> None:
    before, after = {"a": (990.0, 1000.0), "b": (10.0, 1000.0)}, {"a": (5.0, 1000.0), "b": (12.0, 1000.0)}
    assert energy_since(before, after, "energy_cpu_j") == {"energy_cpu_j": pytest.approx(15 + 2)}


def test_no_counter_is_no_energy(tmp_path: Path) -> None:
    assert package_energy(tmp_path / "absent") == {} and energy_since({}, {}, "energy_cpu_j") == {}
    zone(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert package_energy(tmp_path) == {}
    assert energy_since({"a": (1.0, 0.0)}, {}, "energy_cpu_j") == {}


def test_an_interrupted_run_costs_what_its_parts_cost() -> None:
    before = {"wall_s": 10.0, "cpu_s": 9.0, "train_s": 8.0, "peak_memory_mib": 700.0, "energy_cpu_j": 50.0, "energy_gpu_j": 9.0}
    after = {
        "wall_s": 4.0,
        "cpu_s": 3.0,
        "train_s": 2.0,
        "evaluate_s": 1.0,
        "peak_memory_mib": 600.0,
        "parameters": 12.0,
        "energy_cpu_j": 5.0,
    }
    assert together(before, after) == {
        **{"wall_s": 14.0, "cpu_s": 12.0, "train_s": 10.0, "evaluate_s": 1.0, "parameters": 12.0},
        **{"peak_memory_mib": 700.0, "energy_cpu_j": 55.0},
    }
    assert together({}, after) == after
    assert "energy_cpu_j" not in together({"wall_s": 1.0}, after), "a part that was not measured"


class Normed(Method):
    """A loss of one layer, whose weight is what a module takes."""

    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.layer, self.unused = layer, nn.Parameter(torch.ones(3))

    def loss(self, batch: dict) -> dict:
        return {"loss": self.layer(batch["x"]).square().mean()}


def test_operations_are_counted_where_modules_take_weights_and_nothing_is_left() -> None:
    """Of a layer of n inputs and m outputs forward and for the weight backward, 2 n m each; products with vectors are not counted."""
    batch, plain, normed = {"x": torch.randn(6, 5)}, Normed(nn.Linear(5, 4)), Normed(spectral_norm(nn.Linear(5, 4)))
    assert flops_per_example(plain, batch) == 2 * (2 * 5 * 4)
    held = torch.full((3,), 7.0)
    normed.unused.grad = held
    before = {name: value.clone() for name, value in normed.state_dict().items()}
    assert flops_per_example(normed, batch) == 2 * (2 * 5 * 4)
    assert normed.unused.grad is held and held.eq(7).all() and normed.layer.bias.grad is None
    assert all(torch.equal(value, before[name]) for name, value in normed.state_dict().items())
