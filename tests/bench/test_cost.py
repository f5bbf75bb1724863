"""Energy counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cost import energy_since, package_energy


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
