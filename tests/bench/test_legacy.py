"""Records of schema 2, as runs of the first versions left them: they are read as today's, found, and stand where they stood."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from elboard.bench import legacy
from elboard.bench import record as records
from elboard.bench.cli import main
from elboard.bench.config import resolve
from elboard.bench.identity import changed, key_of
from elboard.bench.record import Record
from elboard.bench.registry import discover
from elboard.bench.runs import Runs
from elboard.results.places import InRuns
from elboard.results.store import groups, load
from elboard.results.untrusted import read_evidence
from elboard.results.verify import verify

OLD = Path(__file__).parents[1] / "results" / "old"
FILES = sorted(OLD.glob("*/attempts/*.json"))
SAME = {  # key of the record: what is asked for today
    "8db243675261f5af": ("links/cora", "adamic-adar", 0, {}),
    "89fc809fe8e79169": ("links/cora", "vgae", 0, {"featureless": True}),
    "8394784b2b0c200f": ("ood/digits", "softmax", 0, {}),
    "dbaa0a08606e7f04": ("ood/digits", "energy", 0, {}),
    "01ed2aa0587f08fb": ("noisy/digits-sym40", "co-teaching", 0, {}),
    "48c103d701b02633": ("noisy/digits-sym40", "cross-entropy", 0, {"dropout": 0.5}),
    "84f0cd159184e873": ("ood/digits", "softmax", 1000, {"lr": 0.01}),
}


def raw(file: Path) -> dict:
    return json.loads(file.read_text())


@pytest.fixture(autouse=True)
def of_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks in the version of these records: a record of an older one has no run of today."""
    for entries in (discover("task"), discover("task", ())):  # each remembered by itself
        for name in {task for task, *_ in SAME.values()}:
            monkeypatch.setitem(entries, name, replace(entries[name], card=replace(entries[name].card, version=1)))
    legacy.keys_of.cache_clear()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return shutil.copytree(OLD, tmp_path / "runs")


def test_each_is_the_run_that_is_asked_for_today() -> None:
    assert {raw(file)["key"] for file in FILES} == set(SAME)
    for file in FILES:
        task, method, seed, options = SAME[raw(file)["key"]]
        spec, record = resolve(task, method, seed=seed, overrides=options), records.read(file)
        assert (record.key, record.identity) == (spec.key, spec.identity()) and record.key != raw(file)["key"]
        assert record.run().config["method"] == spec.config["method"]
        assert record.digest == raw(file)["digest"], "what was said of this content goes on being said of it"


def test_its_folder_is_found_and_it_counts_as_done(runs: Path) -> None:
    for key, (task, method, seed, options) in SAME.items():
        spec = resolve(task, method, seed=seed, overrides=options)
        assert Runs(runs).folder(spec) == runs / key and Runs(runs).done(spec).key == spec.key
        other = spec.reseeded(seed + 1)
        assert Runs(runs).folder(other) == runs / other.key and Runs(runs).done(other) is None
    archived = runs / records.ARCHIVE / "8db243675261f5af"
    archived.parent.mkdir()
    (runs / archived.name).rename(archived)
    assert Runs(runs).done(resolve("links/cora", "adamic-adar")) is not None


def test_others_start_from_its_weights_where_they_lie(runs: Path) -> None:
    (base,) = resolve("ood/digits", "energy").starts_from()
    assert Runs(runs).trained(base) is None
    weights = runs / "8394784b2b0c200f" / "checkpoints" / "final.ckpt"
    weights.parent.mkdir()
    weights.touch()
    assert Runs(runs).trained(base).key == base.key and Runs(runs).weights(base) == weights


def test_a_run_of_today_has_its_own_folder(runs: Path) -> None:
    spec = resolve("links/cora", "adamic-adar")
    (runs / spec.key).mkdir()
    assert Runs(runs).folder(spec) == runs / spec.key


def test_they_stand_on_boards_as_they_did(runs: Path) -> None:
    methods = discover("method")
    labels = {(group.task, group.method): changed(group.identity, methods) for group in groups(runs, shipped=False)}
    assert labels.pop(("links/cora", "vgae")) == {"featureless": True}
    assert labels.pop(("noisy/digits-sym40", resolve("noisy/digits-sym40", "cross-entropy").method)) == {"dropout": 0.5}
    assert len(labels) == 4 and not any(labels.values()), "the trial of a search is on no board"


def test_evidence_is_used_where_it_lies(runs: Path) -> None:
    for key in ("8db243675261f5af", "dbaa0a08606e7f04"):
        (file,) = (runs / key / "attempts").glob("*.json")
        place = InRuns(file, records.read(file))
        found = verify(place.record, read_evidence(place.evidence))
        assert found.ok and found.checked


def test_the_command_line_takes_them_for_what_they_are(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = resolve("links/cora", "adamic-adar")
    assert main(["run", "links/cora", "adamic-adar", "--out", str(runs)]) == 0
    assert "present" in capsys.readouterr().out and not (runs / spec.key).exists()
    assert main(["why", spec.key, "--out", str(runs)]) == 0
    said = capsys.readouterr().out
    assert '"method": "adamic-adar@1"' in said and "nearest other run: " in said and "task: 'links/cora@1' here, " in said
    assert main(["leaderboard", "links/cora", "--out", str(runs), "--no-shipped", "--format", "json"]) == 0
    badges = {row["badge"] for row in json.loads(capsys.readouterr().out) if row["method"] == "adamic-adar"}
    assert badges == {"recomputed"}, "a verification of the old content counts"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["spec"].update(seed=5), "is not the hash"),
        (lambda tree: tree["spec"]["config"]["train"].update(epochs=5), "is not the hash"),
        (lambda tree: tree.update(identity={}), "unknown fields"),
        (lambda tree: tree["metrics"].update(auc=0.1), "does not match its digest"),
        (lambda tree: tree["spec"].pop("config"), "its specification is incomplete"),
    ],
)
def test_its_own_rules_are_kept(change: object, message: str) -> None:
    tree = raw(OLD / "8db243675261f5af" / "attempts" / "8ec631805f1d.json")
    change(tree)
    with pytest.raises(ValueError, match=message):
        Record.from_dict(tree)


def test_of_versions_that_are_not_here_the_key_stays() -> None:
    tree = raw(OLD / "8db243675261f5af" / "attempts" / "8ec631805f1d.json")
    found = []
    for seed in (0, 1):
        tree["spec"] |= {"method_version": 9, "seed": seed}
        tree["key"] = key_of(legacy.tree_of(legacy.spec_of(tree["spec"])))
        tree["digest"] = records.digest_of(tree)
        found.append(Record.from_dict(tree))
        assert found[-1].key == tree["key"]
    assert {name: value for name, value in found[0].identity.items() if found[1].identity[name] != value} == {"seed": 0}
    assert set(changed(found[0].identity, discover("method"))) == {"group"}


def test_an_option_that_it_lacks_is_at_its_default() -> None:
    (file,) = (OLD / "89fc809fe8e79169" / "attempts").glob("*.json")
    tree = raw(file)
    del tree["spec"]["config"]["method"]["weight_decay"]
    assert legacy.upgraded(tree)["key"] == resolve("links/cora", "vgae", overrides={"featureless": True}).key


def test_all_that_ship_are_read() -> None:
    assert len({record.key for record in load(None)}) == len(load(None))


def test_keys_from_before_and_of_today_name_the_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, out = "8db243675261f5af", ["--out", str(runs)]
    new = resolve("links/cora", "adamic-adar").key
    (runs / old / "log.txt").write_text("its log\n")
    for key in (old, new):
        assert main(["why", key, *out]) == 0 and capsys.readouterr().out.startswith(f"{new}: adamic-adar")
        assert main(["verify", key, *out, "--no-shipped"]) == 0 and "1 agrees" in capsys.readouterr().out
        assert main(["logs", key, *out]) == 0 and capsys.readouterr().out == "its log\n"
    shutil.copytree(runs / old, runs / "another")
    assert main(["archive", new, *out]) == 2 and (runs / old).is_dir(), "which of the two is not said"
    shutil.rmtree(runs / "another")
    assert main(["archive", new, *out]) == 0 and (runs / records.ARCHIVE / old).is_dir()
    assert main(["why", old, *out]) == 0
    assert main(["why", "0000", *out]) == 2


def test_a_folder_from_before_is_of_one_code(runs: Path, tmp_path: Path) -> None:
    """A run that goes on in the folder of its old key is not done for code that was edited since."""
    spec = resolve("links/cora", "adamic-adar")
    edited = replace(spec, code={"method": "0123456789abcdef"})
    assert Runs(runs).folder(spec) == runs / "8db243675261f5af" and Runs(runs).done(spec) is not None
    assert Runs(runs).folder(edited) == runs / edited.key and Runs(runs).done(edited) is None


def test_a_precision_has_one_key_whatever_it_was_called(tmp_path: Path) -> None:
    for said, asked in (("bf16-mixed", "bf16"), ("bf16", "bf16-mixed"), ("16", "16-mixed")):
        before, today = (resolve("ood/digits", "energy", overrides={"trainer.precision": word}) for word in (said, asked))
        assert before.key == today.key and key_of(legacy.tree_of(before)) in legacy.keys_of(today)
