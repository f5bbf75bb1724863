"""Runs on a GPU, where one is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elboard.bench.config import resolve
from elboard.bench.run import execute

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]
PAIRS = [
    ("generation/digits", "vae"),
    ("noisy/digits-sym40", "nested-co-teaching"),
    ("calibration/mnist", "ivon"),
    ("ood/digits", "vra"),
    ("recommendation/ml-100k", "mult-vae"),
    ("recommendation/ml-100k", "ease"),
    ("links/cora", "vgae"),
]


@pytest.mark.parametrize(("task", "method"), PAIRS)
def test_a_run_on_a_gpu_is_repeatable_and_stays_there(task: str, method: str, tmp_path: Path) -> None:
    spec = resolve(task, method, budget="smoke", overrides={"trainer.accelerator": "cuda"})
    first, second = execute(spec, tmp_path / "a"), execute(spec, tmp_path / "b")
    assert first.status == "done", first.failure
    assert first.metrics == second.metrics
    assert first.cost["peak_gpu_memory_mib"] > 0


def test_closed_forms_agree_with_the_cpu(tmp_path: Path) -> None:
    on = {
        where: execute(
            resolve("recommendation/ml-100k", "ease", budget="smoke", overrides={"trainer.accelerator": where}), tmp_path / where
        )
        for where in ("cpu", "cuda")
    }
    assert on["cuda"].metrics == pytest.approx(on["cpu"].metrics, abs=1e-3)


def test_mixed_precision(tmp_path: Path) -> None:
    overrides = {"trainer.accelerator": "cuda", "trainer.precision": "bf16-mixed"}
    record = execute(resolve("noisy/mnist-sym50", "cross-entropy", budget="smoke", overrides=overrides), tmp_path)
    assert record.status == "done", record.failure
