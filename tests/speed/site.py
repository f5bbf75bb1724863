"""What the site costs: ``python tests/speed/site.py``. One machine in one sitting; only the ratios travel.

10,000 synthetic records: all tasks, up to 31 configurations each, 18 seeds. Not a test, for the reasons given in ``sweeps.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
CONFIGURATIONS, SEEDS, TOTAL = 31, 18, 10_000


def write(root: Path) -> int:
    """Records below ``root``; returns their number."""
    import numpy as np

    from elboard.bench.card import fits
    from elboard.bench.config import resolve
    from elboard.bench.record import Record, seal
    from elboard.bench.registry import discover

    methods, rng, count = discover("method"), np.random.default_rng(0), 0
    for task, entry in discover("task").items():
        fitting = [name for name, method in methods.items() if fits(method.card, entry.card)]
        for i in range(CONFIGURATIONS):
            spec = resolve(task, fitting[i % len(fitting)], budget="lite", overrides={"train.epochs": 2 + i // len(fitting)})
            for seed in range(SEEDS):
                one = spec.reseeded(seed)
                metrics = {key: 0.4 + 0.01 * i + 0.02 * float(rng.standard_normal()) for key in entry.card.metrics}
                fields = {"metrics": metrics, "primary": entry.card.primary, "cost": {"wall_s": 1.0 + i, "parameters": 1000.0}}
                record = seal(Record.of(one, f"{count:012x}", "done", ended="2026-01-01T00:00:00+00:00", **fields))
                file = root / one.key / "attempts" / f"{record.attempt}.json"
                file.parent.mkdir(parents=True)
                file.write_text(json.dumps(asdict(record)), encoding="utf-8")
                count += 1
                if count == TOTAL:
                    return count
    return count


def main() -> None:
    from elboard.results.board.site import build
    from elboard.results.store import compact

    with tempfile.TemporaryDirectory(prefix="elboard-speed-") as name:
        home = Path(name)
        count = write(home / "runs")
        compact(home / "runs")
        for what in ("first", "statistics kept"):
            start, cpu = time.perf_counter(), time.process_time()
            report = build(home / f"site-{what.split()[0]}", home / "runs", shipped=False)
            took, used = time.perf_counter() - start, time.process_time() - cpu
            largest = max(file.stat().st_size for file in (home / f"site-{what.split()[0]}").rglob("*.html")) / 2**20
            print(f"site of {count:,} records, {what}: {took:.1f} s, CPU {used:.1f} s; aim 10 s")
            print(f"  {report.pages} pages, the largest {largest:.2f} MiB")


if __name__ == "__main__":
    main()
