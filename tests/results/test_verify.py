"""Verification: recomputing from evidence, running again, badges, and evidence that is no evidence."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from elboard.bench import record as records
from elboard.bench.cli import verifying
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.identity import group_of
from elboard.bench.record import Record
from elboard.bench.registry import find
from elboard.bench.run import execute
from elboard.results import untrusted
from elboard.results.beside import path_beside
from elboard.results.places import InRuns, places_of_run
from elboard.results.shipping import board_file, write_lines
from elboard.results.store import groups
from elboard.results.store.lines import Line, lines
from elboard.results.untrusted import InvalidEvidence, read_evidence
from elboard.results.verify import Check, Verification, badge, badges, rerun, verifications, verify, write_verification

PLUGINS = Path(__file__).parents[1] / "plugins"
PATHS = (PLUGINS,)


@pytest.fixture(autouse=True)
def no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No records ship with the package here."""
    monkeypatch.setattr("elboard.results.store.lines.SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def links(folder: Path, seed: int = 0) -> tuple[InRuns, Record]:
    """A run that takes no training, its metrics exact."""
    spec = resolve("links/cora", "adamic-adar", seed=seed, budget="smoke")
    record = execute(spec, folder)
    return next(places_of_run(folder, spec.key)), record


def blobs(folder: Path, seed: int = 0, **overrides: object) -> Record:
    return execute(resolve("test/blobs", "test-linear", seed=seed, budget="smoke", overrides=overrides, paths=(str(PLUGINS),)), folder)


def changed(record: Record, **metrics: float) -> Record:
    return records.seal(dataclasses.replace(record, metrics={**record.metrics, **metrics}))


def ship(place: InRuns, package: Path) -> Line:
    """A record and its evidence in the layout of the package."""
    file = board_file(place.record, package)
    write_lines(file, [{"record": dataclasses.asdict(place.record)}])
    evidence = path_beside(file, place.record, "npz")
    evidence.parent.mkdir()
    evidence.write_bytes(place.evidence.read_bytes())
    (line,) = lines("links/cora", [])
    return line


def test_evidence_agrees_and_a_changed_metric_does_not(home: Path) -> None:
    path, record = links(home)
    evidence = read_evidence(path.evidence)
    good = verify(record, evidence)
    assert good.ok and set(good.checked) == {"auc", "ap"} and not good.unchecked
    bad = verify(changed(record, auc=record.metrics["auc"] + 1e-6), evidence)
    assert bad.ok is False and not bad.checked["auc"].ok and bad.checked["ap"].ok
    assert bad.largest == ("auc", pytest.approx(1e-6))
    for name in ("auc", "ap"):  # in whatever order
        of_nan = verify(record, evidence)
        of_nan.checked[name] = of_nan.checked[name]._replace(found=float("nan"))
        assert of_nan.largest[0] == name


def test_evidence_that_gives_nothing_is_no_verdict(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = blobs(home)
    monkeypatch.setattr(find("task", "test/blobs", PATHS).load(), "measure", lambda observed, asked: {})
    found = verify(record, {"p": np.zeros(3)}, PATHS)
    assert found.ok is None and found.unchecked == ["accuracy", "class_nll"] and "gives none" in found.note
    assert badge(record, [found]) == "claimed"


def test_evidence_of_another_task_and_other_versions_are_users_mistakes(home: Path) -> None:
    path, record = links(home)
    with pytest.raises(UserError, match="the evidence is none of links/cora"):
        verify(record, {"scores": np.zeros(3)})
    older = dataclasses.replace(record, spec={**record.spec, "task_version": 7})
    with pytest.raises(UserError, match="is version 3 here, not 7"):
        verify(older, read_evidence(path.evidence))
    failed = dataclasses.replace(record, status="failed")
    with pytest.raises(UserError, match="a failed attempt"):
        verify(failed, {})


def test_a_rerun_on_the_same_machine_agrees_bit_by_bit(tmp_path: Path) -> None:
    record = blobs(tmp_path / "a")
    again = rerun(record, tmp_path / "b", paths=PATHS)
    assert again.ok and again.kind == "rerun" and set(again.checked) == {"accuracy", "class_nll"}
    assert badge(record, [again]) == "re-run"
    off = changed(record, class_nll=float(np.nextafter(record.metrics["class_nll"], 9)))
    disputed = rerun(off, tmp_path / "c", paths=PATHS)
    assert disputed.ok is False and badge(off, [disputed]) == "disputed"
    with pytest.raises(UserError, match="fresh folder"):
        rerun(record, tmp_path / "b", paths=PATHS)


def test_a_rerun_elsewhere_is_compared_with_the_spread_of_seeds(tmp_path: Path) -> None:
    def elsewhere(record: Record, **metrics: float) -> Record:
        return changed(dataclasses.replace(record, provenance={**record.provenance, "versions": {"torch": "0.1"}}), **metrics)

    seeds = [blobs(tmp_path / "a", seed) for seed in range(3)]
    other = [blobs(tmp_path / "a", seed, lr=0.5) for seed in (1, 2)]
    values = [record.metrics["class_nll"] for record in seeds]
    sd = float(np.std(values, ddof=1))
    near, far = elsewhere(seeds[0], class_nll=values[0] + 2.9 * sd), elsewhere(seeds[0], class_nll=values[0] + 3.1 * sd)
    assert rerun(near, tmp_path / "b", seeds, PATHS).checked["class_nll"] == Check(
        values[0] + 2.9 * sd, values[0], pytest.approx(3 * sd), True
    )
    found = rerun(far, tmp_path / "c", [far, *seeds], PATHS)
    assert found.ok is False and not found.checked["class_nll"].ok
    alone = rerun(near, tmp_path / "d", [*seeds[:2], *other], PATHS)
    assert alone.ok is None and "2 seeds: no spread" in alone.note and badge(near, [alone]) == "claimed"


def test_a_failed_rerun_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = blobs(tmp_path / "a")
    failed = dataclasses.replace(record, status="failed", failure={"class": "oom", "message": "no memory"})
    monkeypatch.setattr("elboard.bench.run.execute", lambda spec, folder: failed)
    found = rerun(record, tmp_path / "b", paths=PATHS)
    assert found.ok is None and found.note == "the re-run failed (oom): no memory"


def test_badges_count_for_the_content_that_was_checked(home: Path) -> None:
    path, record = links(home)
    found = verify(record, read_evidence(path.evidence))
    assert badge(record, []) == "claimed" and badge(record, [found]) == "recomputed"
    assert badge(changed(record, auc=0.5), [found]) == "claimed", "a verification of other content"
    partial = dataclasses.replace(found, checked={"ap": found.checked["ap"]})
    assert badge(record, [partial]) == "claimed", "the primary metric was not checked"
    again = dataclasses.replace(found, kind="rerun")
    assert badge(record, [found, again]) == "re-run"
    assert badge(record, [found, again, dataclasses.replace(found, ok=False)]) == "disputed"


def test_verifications_are_written_once_in_both_layouts(home: Path, no_package: Path) -> None:
    path, record = links(home)
    for place in (path, ship(path, no_package)):
        found = verify(record, read_evidence(place.evidence))
        file = write_verification(found, place)
        assert file.match(f"verified/{record.key}/*.json" if place is path else "links/cora.jsonl")
        assert write_verification(dataclasses.replace(found, when="later"), place) is None
        assert [said.to_dict() for said in verifications(place)] == [Verification.from_dict(found.to_dict()).to_dict()] == [found.to_dict()]
        (written,) = place.said("verified")
        assert written["digest"] == found.digest and {"key", "attempt", "versions"}.isdisjoint(written), "what the record says itself"
        assert len(json.dumps(written)) < len(json.dumps(found.to_dict())) and len(written["checked"]) < len(found.checked)
        assert write_verification(dataclasses.replace(found, kind="rerun"), place)
        place.say("verified", {"kind": "rerun"})
        assert {of.kind for of in verifications(place)} == {"recomputed", "rerun"}, "what is none is passed over"
        assert len(place.said("verified")) == 3
    assert lines("links", [])[0].said("verified") == place.said("verified"), "they are in the file"


def badges_of(root: Path | None, shipped: bool = True) -> dict[str, dict[str, str]]:
    return badges(root, shipped, groups(root, shipped))


def test_badges_of_the_runs_and_of_the_package(home: Path, no_package: Path) -> None:
    path, record = links(home)
    assert badges_of(home) == {}
    shipped = ship(path, no_package)
    write_verification(verify(record, read_evidence(shipped.evidence)), shipped)
    group = group_of(record.identity)
    assert badges_of(home) == badges_of(None) == {group: {record.key: "recomputed"}} and badges_of(home, False) == {}
    write_verification(dataclasses.replace(verify(record, read_evidence(path.evidence)), ok=False), path)
    assert badges_of(home) == {group: {record.key: "disputed"}} and badges_of(None) == {group: {record.key: "recomputed"}}


def test_only_the_newest_attempt_has_the_evidence(home: Path) -> None:
    first, record = links(home)
    assert first.evidence == home / record.key / "evidence" / "evidence.npz"
    second = execute(resolve("links/cora", "adamic-adar", budget="smoke"), home)
    newest = records.effective([record, second])
    assert {place.record.attempt for place in places_of_run(home, record.key) if place.evidence} == {newest.attempt}


def test_evidence_of_the_package_is_that_of_one_run(home: Path, no_package: Path) -> None:
    line = ship(links(home)[0], no_package)
    other = records.seal(dataclasses.replace(line.record, attempt="0" * 12))
    write_lines(line.file, [{"record": dataclasses.asdict(other)}])
    assert [of.evidence for of in sorted(lines("links", []), key=lambda of: of.record.attempt)] == [None, line.evidence]


# --- evidence that is no evidence ----------------------------------------------------------------


def npz(**files: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.npy", content)
    return io.BytesIO(file.getvalue())


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


class Bomb:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('unpickled')",))


HOSTILE = {
    "objects": (lambda: npz(a=npy(np.array([Bomb()]), allow_pickle=True)), "nothing is unpickled"),
    "a bare pickle": (lambda: io.BytesIO(pickle.dumps([1])), "not a readable .npz archive"),
    "a pickle as array": (lambda: npz(a=pickle.dumps([1])), "not a readable .npz archive"),
    "text": (lambda: npz(a=npy(np.array(["text"]))), "only numbers and booleans"),
    "a shape beyond its bytes": (lambda: npz(a=npy(np.zeros(4)).replace(b"(4,)", b"(9,)")), "claims shape"),
    "many zeros": (lambda: npz(a=npy(np.zeros(10_000)), b=npy(np.zeros(10_000))), "more than the 0 MiB allowed"),
    "not an array": (lambda: _zip({"readme.txt": b"x"}), "not a plain .npy array"),
    "truncated": (lambda: io.BytesIO(npz(a=npy(np.zeros(50))).getvalue()[:-30]), "not a readable .npz archive"),
}


def _zip(files: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return io.BytesIO(file.getvalue())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_evidence_is_refused_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reason = HOSTILE[name]
    monkeypatch.setattr("elboard.results.untrusted.LARGEST_FILE", 100_000)
    with pytest.raises(InvalidEvidence, match=reason) as caught:
        read_evidence(make())
    assert len(str(caught.value).splitlines()) == 1


def test_an_array_larger_than_declared_is_not_inflated() -> None:
    """The directory says 1,000 bytes, the stream holds many more."""
    content = npz(a=npy(np.zeros(100_000))).getvalue()
    size = len(npy(np.zeros(100_000))).to_bytes(4, "little")
    assert content.count(size) == 2
    with pytest.raises(InvalidEvidence, match="not a readable"):
        read_evidence(io.BytesIO(content.replace(size, (1000).to_bytes(4, "little"))))


def test_arrays_come_back_as_they_were_saved(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "b": np.asfortranarray(np.eye(3)),
        "c": np.array(7),
        "d": np.zeros((0, 2), bool),
    }
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    found = read_evidence(tmp_path / "x.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


# --- the command ---------------------------------------------------------------------------------


def test_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, record = links(home)
    assert verifying.verify([], False, out=home) == 0
    assert "agrees: 2 of 2 metrics recomputed from evidence; no difference\n1 agrees\n" in capsys.readouterr().out
    tree = json.loads(path.file.read_text())
    tree["metrics"]["auc"] = 0.25
    tree["digest"] = records.digest_of(tree)
    path.file.write_text(json.dumps(tree))
    assert verifying.verify([record.key[:6]], False, out=home) == 1
    said = capsys.readouterr().out
    assert "DISAGREES" in said and "auc is 0.25 in the record" in said
    (home / record.key / "evidence" / "evidence.npz").unlink()
    assert verifying.verify([], False, out=home) == 0
    assert "not checked: it has no evidence" in capsys.readouterr().out
    with pytest.raises(UserError, match="no run 'zz'"):
        verifying.verify(["zz"], False, out=home)


def test_command_runs_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = blobs(home)
    assert verifying.verify([record.key], True, out=home, path=list(PATHS)) == 0
    assert "2 of 2 metrics run again; no difference; bit by bit" in capsys.readouterr().out
    assert badges_of(home) == {group_of(record.identity): {record.key: "re-run"}}
    with pytest.raises(UserError, match="name them"):
        verifying.verify([], True, out=home)


def test_limits_are_those_documented() -> None:
    assert untrusted.LARGEST_FILE == 256 * 2**20
