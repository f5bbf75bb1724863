"""The commands that index and archive records."""

from __future__ import annotations

from pathlib import Path

import pytest

from elboard.bench import record as records
from elboard.bench.cli.store import archive, compact
from elboard.bench.errors import UserError
from elboard.results.store import load


def test_compact_and_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [record for record in load(None) if record.spec["task"] == "generation/mnist"]
    files = [tmp_path / record.key / "attempts" / f"{record.attempt}.json" for record in found]
    for record, file in zip(found, files, strict=True):
        records.write(record, file)
    n = len(found)
    compact(tmp_path)
    assert capsys.readouterr().out == f"{n} records, {n} of them new\n"
    archive([found[0].key, found[0].key], tmp_path)
    assert capsys.readouterr().out == f"1 runs moved to {tmp_path / 'archive'}, which holds 1 records now\n"
    files[1].write_text("{")
    compact(tmp_path)
    said = capsys.readouterr()
    assert said.err.startswith(f"warning: {files[1]}: not valid JSON") and said.err.count("\n") == 1
    assert said.out == f"{n - 1} records, 0 of them new\n"
    with pytest.raises(UserError, match="no such folder of runs"):
        compact(tmp_path / "missing")
