"""Records that ship with the package: lines of a file a task, what is set aside, and that little changes when one is added."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from elboard.bench import record as records
from elboard.bench.record import Record
from elboard.results.beside import all_beside, path_beside
from elboard.results.shipping import board_file, write_lines
from elboard.results.store.lines import Line, lines
from tests.results.test_store import record_of


@pytest.fixture
def found() -> list[Record]:
    return [records.seal(record_of(0.5, seed=seed, attempt=f"{seed:012x}")) for seed in (11, 2, 0)]


def write(folder: Path, found: list[Record]) -> Path:
    file = board_file(found[0], folder)
    write_lines(file, [{"record": dataclasses.asdict(record)} for record in found])
    return file


def test_a_new_record_or_word_changes_one_line(found: list[Record], tmp_path: Path) -> None:
    file = write(tmp_path, found)
    assert [line.record.spec["seed"] for line in lines("", [], tmp_path)] == [0, 2, 11]
    before = file.read_text().splitlines()
    new = records.seal(record_of(0.5, seed=5))
    write(tmp_path, [new])
    after = file.read_text().splitlines()
    assert after[:2] + after[3:] == before and [line.record for line in lines("", [], tmp_path)].index(new) == 2
    lines("", [], tmp_path)[1].say("verified", {"kind": "rerun"})
    assert [i for i, (a, b) in enumerate(zip(after, file.read_text().splitlines(), strict=True)) if a != b] == [1]
    assert [line.said("verified") for line in lines("", [], tmp_path)] == [[], [{"kind": "rerun"}], [], []]
    write(tmp_path, [new])
    assert len(file.read_text().splitlines()) == 4, "the same attempt has one line"


def test_no_text_in_a_record_ends_its_line(tmp_path: Path) -> None:
    found = [records.seal(record_of(0.5, seed=seed, notes={"why": "a\u2028b\x85c\x1cd\r\ne\u00e9"})) for seed in range(3)]
    for record in found:
        write(tmp_path, [record])
    assert [line.record for line in lines("", [], tmp_path)] == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"record": {"sch', "not valid JSON, perhaps truncated"),
        ("<<<<<<< theirs", "not valid JSON"),
        ("[1]", "not a record with what is said about it"),
        ("{}", "not a record"),
        ('{"record": 1}', "not a record"),
        ('{"record": {}, "verified": 3}', "not a record with what is said about it"),
        ('{"record": {"schema": 99}}', "schema 99 is not the known"),
        ("[" * 100_000, "not valid JSON"),
        ('{"record":{"schema":2,"cost":{"wall_s":NaN}}}', "NaN is not JSON"),
        ("changed", "does not match its digest"),
    ],
)
def test_what_is_invalid_is_set_aside_with_its_file_and_line(text: str, said: str, found: list[Record], tmp_path: Path) -> None:
    file = write(tmp_path, found)
    texts = file.read_text().splitlines()
    tree = json.loads(texts[1])
    tree["record"]["cost"]["wall_s"] = 0.125
    texts[1] = json.dumps(tree) if text == "changed" else text
    file.write_text("\n".join(texts) + "\n")
    left_out: list[str] = []
    assert [line.record.spec["seed"] for line in lines("", left_out, tmp_path)] == [0, 11]
    assert len(left_out) == 1 and left_out[0].startswith(f"{file}:2: ") and said in left_out[0] and left_out[0].endswith("; it is left out")
    write(tmp_path, [records.seal(record_of(0.5, seed=5))])
    assert texts[1] in file.read_text().splitlines(), "it is still there after another record was added"


def test_a_file_that_changes_is_read_again(found: list[Record], tmp_path: Path) -> None:
    file = write(tmp_path, found)
    assert lines("", [], tmp_path)[0] is lines("", [], tmp_path)[0]
    os.utime(file, ns=(1, 1))
    file.write_text("\n".join(file.read_text().splitlines()[:1]) + "\n")
    assert len(lines("", [], tmp_path)) == 1


def test_patterns_lead_nowhere_else(found: list[Record], tmp_path: Path) -> None:
    file = write(tmp_path / "in", found)
    task = found[0].spec["task"]
    write_lines(file.with_suffix("") / "x.jsonl", [{"record": dataclasses.asdict(found[0])}])
    for pattern, count in (
        (task, 3),
        (task.split("/")[0], 3),
        ("", 3),
        (f"{task}/x", 0),
        ("../in", 0),
        ("..", 0),
        ("te*", 0),
        ("test/*", 0),
    ):
        assert len(lines(pattern, [], tmp_path / "in")) == count, pattern


def test_what_lies_beside_is_found_by_its_run(found: list[Record], tmp_path: Path) -> None:
    dotted = records.replace(found[0], spec={**found[0].spec, "method": "v1.5"}, attempt="a.b")
    file = write(tmp_path, [records.seal(found[1])])
    for record in (dotted, found[1]):
        for what in ("npz", "curves.jsonl", "samples.png"):
            path_beside(file, record, what).parent.mkdir(exist_ok=True)
            path_beside(file, record, what).touch()
    assert {stem: set(files) for stem, files in all_beside(file).items()} == dict.fromkeys(
        ["v1_5-a_b", f"{found[1].spec['method']}-{found[1].attempt}"], {"npz", "curves.jsonl", "samples.png"}
    )
    (line,) = lines("", [], tmp_path)
    assert line.evidence == path_beside(file, found[1], "npz") and Line(file, dotted, {}).evidence.name == "v1_5-a_b.npz"
