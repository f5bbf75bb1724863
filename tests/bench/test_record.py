"""Records: the seal, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from elboard.bench import plain
from elboard.bench import record as records
from elboard.bench.config import RunSpec, resolve
from elboard.bench.record import Record

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)


def one(**fields: object) -> Record:
    spec = resolve("test/blobs", "test-linear", budget="smoke", paths=PLUGINS)
    given = {"metrics": {"accuracy": 0.1 + 0.2}, "primary": "accuracy", "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-02"}
    return Record.of(spec, "a1", "done", **{**given, **fields})


def tree_of(tmp_path: Path, **fields: object) -> dict:
    records.write(one(**fields), tmp_path / "r.json")
    return json.loads((tmp_path / "r.json").read_text())


def test_the_digest_is_of_the_canonical_json(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, cost={"wall_s": 1e-7, "parameters": 12}, notes={"ü": ["ñ", None, True, {"b": 1, "a": 2}]})
    digest = tree.pop("digest")
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert '"metrics":{"accuracy":0.30000000000000004}' in text and '"wall_s":1e-07' in text
    assert digest == hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_sealed_in_memory_and_in_the_file_alike(tmp_path: Path) -> None:
    record = one(notes={"value": float("nan"), "name": "caf\udce9", "pair": (1, 2)})
    assert record.digest == "" and records.seal(record).digest == records.write(record, tmp_path / "r.json").digest
    read = records.read(tmp_path / "r.json")
    assert read.digest == records.seal(record).digest == records.seal(read).digest
    assert read.notes == {"value": "nan", "name": "caf?", "pair": [1, 2]}


def test_every_field_is_under_the_seal(tmp_path: Path) -> None:
    changes = {
        "attempt": "a2",
        "primary": "class_nll",
        "ended": "2026-01-03",
        "started": "2026-01-01T00:00:01+00:00",
        "metrics": {"accuracy": 0.3, "class_nll": 1.0},
        "cost": {"wall_s": 2.0},
        "provenance": {"argv0": "x"},
        "files": {"evidence": []},
        "notes": {"trial": 1},
        "warnings": ["x"],
        "failure": {"class": "nan"},
        "defaults": "guessed",
    }
    whole = tree_of(tmp_path, metrics={"accuracy": 0.5, "class_nll": 1.0})
    for name, value in changes.items():
        with pytest.raises(ValueError, match="does not match its digest; it was changed after it was written"):
            records.validate({**whole, name: value})
    assert set(changes) | {"key", "status", "spec", "identity", "schema", "digest"} == set(Record.__dataclass_fields__)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 1, "schema 1 is not the known 3"),
        (("schema",), 3.0, "schema 3.0 is not"),
        (("schema",), 4, "schema 4 is not"),
        (("metrics", "accuracy"), "nan", "metric accuracy is 'nan', not a finite number"),
        (("metrics", "accuracy"), 10**400, "not a finite number"),
        (("metrics", "made\nup"), 0.5, r"metric key 'made\\nup' is not of the form"),
        (("metrics", "acuracy"), 0.5, "no metric 'acuracy': did you mean 'accuracy'"),
        (("cost", "wall_s"), "inf", "cost wall_s is 'inf', not a finite number of at least 0"),
        (("cost", "wall_s"), -1.0, "cost wall_s is -1.0"),
        (("cost", "wall_s"), True, "cost wall_s is True"),
        (("ended",), "2025-12-31T23:59:59+00:00", "it ended at 2025-12-31T23:59:59.00:00, before it started at"),
        (("ended",), "yesterday", "ended is 'yesterday', not an ISO 8601 time"),
        (("ended",), "2026-01-02T00:00:00+02:00", "which is not in UTC"),
        (("notes",), [], "notes is .., not a mapping"),
        (("attempt",), 5, "attempt is 5, not text"),
        (("attempt",), "../x", "attempt '../x' is not a name"),
        (("warnings",), "x", "warnings is 'x', not a list"),
        (("files", "evidence"), [1], "files.evidence is .1., not a list of texts"),
        (("failure", "class"), 1, "failure.class is 1, not text"),
        (("spec", "seed"), True, "spec.seed is True, not a whole number"),
        (("spec", "seed"), 2**63, "spec.seed is 9223372036854775808"),
        (("spec", "task"), ["x"], "spec.task is ..x.., not text"),
        (("spec", "bases"), "x", "its specification is incomplete"),
        (("spec", "paths"), [], "its identity is not that of its specification: .*a field unknown"),
        (("spec", "seed"), 1, "its identity is not that of its specification: seed"),
        (("spec", "method_version"), 2, "its identity is not that of its specification: method"),
        (("spec", "config", "trainer", "precision"), "16", "its identity is not that of its specification: precision"),
        (("identity", "options"), {"method": {"lr": 0.3}}, "its identity is not that of its specification: options.method.lr"),
        (("identity", "options"), {"trainer": {"threads": 1}}, "its identity is not that of its specification: options.trainer.threads"),
        (("identity", "options"), 3, "its specification is incomplete"),
        (("identity", "more"), 1, "its identity is not that of its specification: more"),
        (("identity",), [], "identity is .., not a mapping"),
        (("spec", "config"), {}, "its specification is incomplete"),
        (("key",), "0" * 16, "is not the hash"),
        (("extra",), 1, "unknown fields"),
        (("notes", "name"), "\ud800", "no canonical form"),
        (("notes", "name"), float("inf"), "no canonical form"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, path: tuple[str, ...], value: object, message: str) -> None:
    tree = tree_of(tmp_path, cost={"wall_s": 1.0})
    place = tree
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = copy.deepcopy(value)
    with pytest.raises(ValueError, match=message) as caught:
        records.validate(tree)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("0.30000000000000004", "NaN"), "not valid JSON"),
        (lambda text: text.replace("0.30000000000000004", "0.31"), "does not match its digest"),
        (lambda text: "[" * 100_000, "not valid JSON"),
        (lambda text: "\xff", "not valid JSON"),
        (lambda text: "[]", "not a record"),
    ],
)
def test_damaged_files(tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    tree_of(tmp_path)
    file = tmp_path / "r.json"
    file.write_bytes(damage(file.read_text()).encode("latin-1"))
    with pytest.raises(records.InvalidRecord, match=message) as caught:
        records.read(file)
    assert str(caught.value).startswith(f"{file}: ") and len(str(caught.value).splitlines()) == 1


def test_a_record_without_digest_is_none(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    del tree["digest"]
    with pytest.raises(ValueError, match=r"fields \['digest'\] are missing"):
        records.validate(tree)


def test_layout_in_the_text_does_not_count(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    (tmp_path / "r.json").write_text(json.dumps(dict(reversed(tree.items())), ensure_ascii=False))
    assert records.read(tmp_path / "r.json").digest == tree["digest"]


def test_files_of_a_run(tmp_path: Path) -> None:
    for name in ("k/attempts/b.json", "archive/k/attempts/a.json", "k/attempts/b.verified.json", "k/attempts/.c.json.1.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [file.relative_to(tmp_path).as_posix() for file in records.files_of(tmp_path / "k")] == [
        "k/attempts/b.json",
        "archive/k/attempts/a.json",
    ]


def _epochs(tree: dict, value: object) -> None:
    tree["spec"]["config"]["train"]["epochs"] = value


SHAPES = {
    "notes.search is 5, not a mapping": lambda tree: tree["notes"].update(search=5),
    "notes.search.trials is 'x', not a whole number": lambda tree: tree["notes"].update(search={"trials": "x"}),
    "notes.search.wall_s is [], not a finite number": lambda tree: tree["notes"].update(search={"wall_s": []}),
    "notes.search.parameters is 3, not plain": lambda tree: tree["notes"].update(search={"parameters": 3}),
    "notes.search.parameters has a name": lambda tree: tree["notes"].update(search={"parameters": {"\x1b[2J": 1}}),
    "notes.selection is 0.5, not a mapping": lambda tree: tree["notes"].update(selection=0.5),
    "provenance.hardware is 'mine', not a mapping": lambda tree: tree["provenance"].update(hardware="mine"),
    "spec.config.train has no epochs": lambda tree: tree["spec"]["config"].update(train={}),
    "spec.config.train.epochs is '3', not a whole number": lambda tree: _epochs(tree, "3"),
    "spec.config.train.'epochs' is": lambda tree: _epochs(tree, 10**400),
    "spec.config.task is None, not a mapping": lambda tree: tree["spec"]["config"].pop("task"),
    "spec.config.method is 5, not a mapping": lambda tree: tree["spec"]["config"].update(method=5),
    "spec.config.method.'scale' is": lambda tree: tree["spec"]["config"]["method"].update(scale="x" * 10**4),
    "spec.config.method.'a b' is": lambda tree: tree["spec"]["config"]["method"].update({"a b": 1}),
    "spec.method is": lambda tree: tree["spec"].update(method="a\x1b[2Jb"),
    "spec.task is": lambda tree: tree["spec"].update(task=""),
    "spec.task_version is": lambda tree: tree["spec"].update(task_version=2**40),
    "a field unknown": lambda tree: tree["spec"].update(paths=["/usr/lib"]),
}


@pytest.mark.parametrize("reason", SHAPES)
def test_what_would_hurt_a_reader_is_set_aside(reason: str, tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    SHAPES[reason](tree)
    with suppress(KeyError, TypeError):
        spec = RunSpec.joined(tree["spec"], tree["identity"])
        tree |= {"identity": spec.identity(), "key": spec.key}
    tree["digest"] = records.digest_of(tree)
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        records.validate(tree)
    assert str(error.value).isprintable()


def test_what_a_record_says_of_the_machine() -> None:
    record = Record.of(resolve("test/blobs", "test-linear", budget="smoke", overrides={"wandb.entity": "me"}, paths=PLUGINS), "a", "done")
    assert set(record.spec["config"]) == {"method", "train", "task", "trainer"} and PLUGINS[0] not in json.dumps(dataclasses.asdict(record))
    assert plain.heard(f"UserWarning: {Path.home()}/a/b.py is old, see http://a.b/c/d") == "UserWarning: b.py is old, see http://a.b/c/d"
    assert plain.heard("no a/b in C:\\Users\\me\\x.txt") == "no a/b in x.txt"
    assert plain.heard("PossibleUserWarning: The `srun` command is available on your system: srun python /a/b.py") == ""
    assert plain.heard("FutureWarning: `isinstance(treespec, LeafSpec)` is deprecated") == ""


def test_what_killed_writers_left_is_swept_up_after_a_day(tmp_path: Path) -> None:
    mine = [f".a.json.12.{'0f' * 3}.tmp", f".now.{'0' * 8}", f".claim.{'a' * 32}", f".mnist.npz.{'0' * 8}.tmp"]
    others = [".notes.tmp", "a.json", ".claim.x"]
    for name in [*mine, *others]:
        (tmp_path / name).write_text("")
    records.write_text_atomically(tmp_path / "b.json", "{}")
    assert all((tmp_path / name).exists() for name in mine), "their writers may be alive"
    for name in [*mine, *others]:
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    records.write_text_atomically(tmp_path / "b.json", "{}")
    assert {path.name for path in tmp_path.iterdir()} == {*others, "b.json"}
