"""Submissions: an honest one comes through whole, hostile ones are refused in one line each, and nothing of them is written or run."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from elboard.bench import record as records
from elboard.bench.cli import verifying
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.registry import find
from elboard.bench.run import execute
from elboard.results import untrusted
from elboard.results.shipping import write_lines
from elboard.results.store.lines import Line, lines
from elboard.results.submission import review, submit
from elboard.results.untrusted import read_evidence
from elboard.results.verify import badge, verifications

PATHS = (PLUGINS := Path(__file__).parents[1] / "plugins",)
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run that takes no training."""
    home = tmp_path_factory.mktemp("runs")
    assert execute(resolve("links/cora", "adamic-adar", budget="smoke"), home).status == "done"
    return home


@pytest.fixture(scope="module")
def honest(runs: Path) -> Files:
    return untrusted.contents_of(submit(runs, runs.parent / "honest"))


def of(files: Files, kind: str) -> str:
    return next(name for name in files if name.startswith(kind))


def with_record(files: Files, change: Callable[[dict], None], seal: bool = True) -> Files:
    """``files`` with a changed record, its key, digest and names made good again where ``seal``."""
    name = of(files, "records/")
    tree = json.loads(files[name])
    change(tree)
    if seal:
        spec = RunSpec.joined(tree["spec"], tree["identity"])
        tree |= {"identity": spec.identity(), "key": spec.key}
        tree["digest"] = records.digest_of(tree)
    stem = f"{tree['key']}.{tree['attempt']}"
    return {f"records/{stem}.json": json.dumps(tree).encode(), f"evidence/{stem}.npz": files[of(files, "evidence/")]}


def setting(**values: object) -> Callable[[dict], None]:
    return lambda tree: tree.update(values)


def in_spec(**values: object) -> Callable[[dict], None]:
    return lambda tree: tree["spec"].update(values)


def refused(file: Path, into: Path) -> str:
    """The one line with which the whole of ``file`` is refused; nothing is written."""
    report = review(file, accept=True, into=into, paths=PATHS)
    assert not report.accepted and not report.written and len(report.refused) == 1, report
    assert not list(into.rglob("*")) and len(report.refused[0].splitlines()) == 1 and report.refused[0].isprintable()
    return report.refused[0]


def packed(files: Files, tmp_path: Path) -> Path:
    untrusted.pack(files, tmp_path / "x.elboard.zip")
    return tmp_path / "x.elboard.zip"


def test_an_honest_submission_comes_through_whole(runs: Path, honest: Files, tmp_path: Path) -> None:
    file, into = packed(honest, tmp_path), tmp_path / "records"
    only_report = review(file, into=into)
    assert len(only_report.accepted) == 1 and not only_report.refused and not into.exists()
    report = review(file, accept=True, into=into)
    record = report.accepted[0].record
    assert report.written == [into / "links/cora.jsonl", into / "links/cora" / f"adamic-adar-{record.attempt}.npz"]
    (line,) = lines("", [], into)
    assert line.record == record == records.read(next(runs.glob("*/attempts/*.json")))
    assert set(read_evidence(line.evidence)) == {"scores", "y"}
    assert badge(record, verifications(line)) == "recomputed"
    assert "2 of 2 metrics recomputed" in "\n".join(report.lines())
    again = review(file, accept=True, into=into)
    assert again.refused == [f"records/{record.key}.{record.attempt}.json: its attempt is here already"] and not again.written


def test_curves_and_pictures_travel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(resolve("test/blobs", "test-linear", budget="smoke", paths=(str(PLUGINS),)), tmp_path / "runs")
    file = submit(tmp_path / "runs", tmp_path / "x.elboard.zip")
    names = untrusted.contents_of(file)
    assert [name.split("/")[0] for name in sorted(names)] == ["curves", "evidence", "pictures", "records"]
    report = review(file, into=tmp_path / "records", paths=PATHS)
    assert "2 of 2 metrics recomputed" in "\n".join(report.lines()) and not any("claimed" in line for line in report.flagged)
    monkeypatch.setattr(find("task", "test/blobs", PATHS).load(), "measure", lambda observed, asked: {})
    report = review(file, into=tmp_path / "records", paths=PATHS)
    assert len(report.accepted) == 1 and any("it stays claimed" in line for line in report.flagged)
    assert "no task 'test/blobs'" in review(file, into=tmp_path / "records").refused[0], "code is found by the reviewer's paths alone"


def blobs(home: Path, *seeds: int) -> Path:
    for seed in seeds:
        execute(resolve("test/blobs", "test-linear", seed=seed, budget="smoke", paths=(str(PLUGINS),)), home)
    return submit(home, home.parent / f"{home.name}.elboard.zip")


def endings(written: list[Path]) -> list[str]:
    return sorted(path.name.partition(".")[2] for path in written)


def taken(into: Path) -> list[Line]:
    return lines("", [], into)


def test_one_run_of_a_group_is_illustrated(tmp_path: Path) -> None:
    into = tmp_path / "records"
    report = review(blobs(tmp_path / "a", 3, 2), accept=True, into=into, paths=PATHS)
    assert endings(report.written) == ["curves.jsonl", "jsonl", "npz", "probabilities.png"]
    shown = [path for path in report.written if path.parent.name == "blobs"]
    smallest = min((line.record for line in taken(into)), key=lambda record: record.spec["seed"])
    assert len(taken(into)) == 2 and smallest.spec["seed"] == 2
    assert all(path.name.startswith(f"test-linear-{smallest.attempt}.") and path.exists() for path in shown)
    folder = tmp_path / "a" / smallest.key
    ours, theirs = (file.read_text().splitlines() for file in (folder / "curves.jsonl", next(p for p in shown if p.suffix == ".jsonl")))
    assert [json.loads(row) for row in theirs] == [pytest.approx(json.loads(row), rel=1e-5) for row in ours] and len(ours) > 0
    ours, theirs = (Image.open(path) for path in (next(folder.glob("pictures/*.png")), next(p for p in shown if p.suffix == ".png")))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))
    later = review(blobs(tmp_path / "b", 1), accept=True, into=into, paths=PATHS)
    assert endings(later.written) == ["jsonl"] and len(taken(into)) == 3, "there are some of this group"


def image_of(mode: str, size: tuple[int, int], **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, **options)
    return out.getvalue()


ILLUSTRATIONS = {
    "NaN": ("curves/", b'{"epoch": 0, "train/loss": NaN}\n', "it holds NaN, which is no JSON"),
    "text": ("curves/", b'{"epoch": 0, "train/loss": "<script>"}\n', "line 1 is no mapping from names to numbers"),
    "markup in a name": ("curves/", b'{"epoch": 0}\n{"<script>": 1}\n', "line 2 is no mapping"),
    "a list": ("curves/", b"[1]\n", "line 1 is no mapping"),
    "a huge number": ("curves/", b'{"epoch": 1' + b"0" * 400 + b"}\n", "line 1 is no mapping"),
    "a thousand curves": ("curves/", json.dumps({f"a{i}": i for i in range(1000)}).encode(), "1000 curves, more than 100"),
    "a large file": ("curves/", b"".join(b'{"epoch": %d}\n' % (i * 7919**3 % 10**15) for i in range(2**18)), "bytes, more than"),
    "no picture": ("pictures/", b"<svg onload=alert(1)>", "no readable PNG"),
    "another format": ("pictures/", image_of("RGB", (4, 4), format="GIF"), "no readable PNG"),
    "truncated": ("pictures/", image_of("RGB", (400, 400), format="PNG")[:200], "no readable PNG"),
    "vast": ("pictures/", image_of("1", (30_000, 2), format="PNG"), "30000 x 2 pixels, more than 4096 a side"),
}


@pytest.mark.parametrize("name", ILLUSTRATIONS)
def test_what_is_no_curve_or_picture_is_left_out_and_the_record_comes_in(name: str, tmp_path: Path) -> None:
    kind, content, message = ILLUSTRATIONS[name]
    files = untrusted.contents_of(blobs(tmp_path / "runs", 0))
    files[of(files, kind)] = content
    report = review(packed(files, tmp_path), accept=True, into=tmp_path / "records", paths=PATHS)
    assert len(report.accepted) == 1 and [line for line in report.flagged if "is left out: " in line and message in line]
    assert len(report.written) == 3 and all(path.exists() for path in report.written), "the record, its evidence and the other kind"


def test_only_pixels_of_a_picture_come_in(tmp_path: Path) -> None:
    files = untrusted.contents_of(blobs(tmp_path / "runs", 0))
    words = PngInfo()
    words.add_text("Comment", "<script>alert(1)</script>")
    files[of(files, "pictures/")] = image_of("P", (4, 4), format="PNG", pnginfo=words) + b"<script>alert(2)</script>"
    report = review(packed(files, tmp_path), accept=True, into=tmp_path / "records", paths=PATHS)
    (picture,) = [path for path in report.written if path.suffix == ".png"]
    assert b"script" not in picture.read_bytes() and Image.open(picture).size == (4, 4)


def test_submitting_nothing_or_over_a_file(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run to submit"):
        submit(tmp_path / "empty", tmp_path / "x")
    (tmp_path / "x.elboard.zip").write_bytes(b"")
    with pytest.raises(UserError, match="exists already"):
        submit(runs, tmp_path / "x")


RECORDS = {
    "HTML in the method's name": (in_spec(method="<img src=x onerror=alert(1)>"), "is no name"),
    "path in the method's name": (in_spec(method="../../../tmp/x"), "is no name"),
    "NaN metric": (lambda tree: tree["metrics"].update(auc="NaN"), "metric auc is 'NaN', not a finite number"),
    "metric out of range": (lambda tree: tree["metrics"].update(auc=1.5), "outside its range"),
    "unknown metric": (lambda tree: tree["metrics"].update(goodness=1.0), "no metric 'goodness'"),
    "escape in a metric": (lambda tree: tree["metrics"].update({"\x1b[2J": 1.0}), "is not of the form"),
    "negative cost": (lambda tree: tree["cost"].update(wall_s=-1.0), "cost wall_s is -1.0"),
    "future schema": (setting(schema=99), "schema 99 is not the known"),
    "unknown task": (in_spec(task="links/pubmed"), "no task 'links/pubmed'"),
    "unknown task version": (in_spec(task_version=9), "links/cora is version 3 here, not 9"),
    "hidden option": (lambda tree: tree["spec"]["config"]["train"].update(epochs=31), "train.epochs is None in its identity, 31 by its"),
    "unknown budget": (in_spec(budget="huge"), "no budget 'huge'"),
    "failed": (setting(status="failed", failure={"class": "bug", "message": "", "log": ""}), "a failed attempt has no metrics"),
    "file elsewhere": (lambda tree: tree["files"].update(evidence=["../../../etc/passwd"]), "neither evidence nor a picture"),
    "claims more than its evidence": (lambda tree: tree["metrics"].update(auc=0.999), "auc is 0.999 in the record"),
    "notes of another shape": (lambda tree: tree["notes"].update(search=5), "notes.search is 5, not a mapping"),
    "no epochs": (lambda tree: tree["spec"]["config"].update(train={}), "spec.config.train has no epochs"),
    "no options of the method": (lambda tree: tree["spec"]["config"].update(method=7), "spec.config.method is 7, not a mapping"),
    "another's option": (lambda tree: tree["spec"]["config"]["method"].update(depth=3), "no option 'depth'"),
    "an option of another type": (
        lambda tree: tree["spec"]["config"]["train"].update(batch_size="0"),
        "train.batch_size='0' is 0 by its type",
    ),
    "paths": (in_spec(paths=["/usr/lib"]), "its identity is not that of its specification: a field unknown"),
    "a vast version": (in_spec(method_version=2**40), "spec.method_version is 1099511627776"),
    "other data": (in_spec(budget="lite"), "its data are others: the checksum of 'cora'"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_hostile_record_is_refused_in_one_line(name: str, honest: Files, tmp_path: Path) -> None:
    change, reason = RECORDS[name]
    assert reason in refused(packed(with_record(honest, change), tmp_path), tmp_path / "records")


def test_what_was_changed_after_it_was_written_is_refused(honest: Files, tmp_path: Path) -> None:
    files = with_record(honest, lambda tree: tree["metrics"].update(auc=0.9), seal=False)
    assert "does not match its digest" in refused(packed(files, tmp_path), tmp_path / "records")


def test_a_wrong_key_is_refused(honest: Files, tmp_path: Path) -> None:
    files = with_record(honest, in_spec(seed=7), seal=False)
    assert "its identity is not that of its specification: seed" in refused(packed(files, tmp_path), tmp_path / "records")


def test_data_must_be_those_of_the_records_here(honest: Files, tmp_path: Path) -> None:
    """The first accepted record says what the data are; at budgets beyond smoke others must have read the same."""
    theirs = {"cora": "0" * 64}
    other = with_record(honest, in_spec(budget="lite", seed=3))
    here = json.loads(other[of(other, "records/")])
    here["provenance"]["data"] = theirs
    here["attempt"] = "0" * 12
    here["digest"] = records.digest_of(here)
    write_lines(tmp_path / "here/links/cora.jsonl", [{"record": here}])

    def lite(tree: dict) -> None:
        tree["spec"] = resolve("links/cora", "adamic-adar", budget="lite").resolved()
        tree["identity"]["options"], tree["provenance"]["data"] = {}, theirs

    report = review(packed(with_record(honest, lite), tmp_path), into=tmp_path / "here")
    assert len(report.accepted) == 1
    assert "its data are others" in review(tmp_path / "x.elboard.zip", into=tmp_path / "none").refused[0]


def zeros(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, scores=array)
    return file.getvalue()


def array_of(header: bytes, content: bytes = b"") -> bytes:
    """Evidence whose array has this header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("scores.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)
    return file.getvalue()


EVIDENCE = {
    "0-d": (lambda: zeros(np.float64(1)), "the evidence is none of links/cora"),
    "no header": (lambda: array_of(b"("), "its evidence is unreadable"),
    "a deep header": (lambda: array_of(b"(" * 9000), "its evidence is unreadable"),
    "a strange type": (lambda: array_of(b"{'descr': 5, 'fortran_order': False, 'shape': ()}"), "its evidence is unreadable"),
    "a strange shape": (
        lambda: array_of(b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 0)}" % 10**40),
        "its evidence is unreadable",
    ),
    "no text": (lambda: array_of(b"\xff\xfe{"), "its evidence is unreadable"),
    "pickled": (lambda: zeros(np.array([{"a": 1}], dtype=object)), "nothing is unpickled"),
    "huge": (lambda: zeros(np.zeros(300 * 2**20, np.uint8)), "more than the 256 MiB allowed"),
    "truncated": (lambda: zeros(np.zeros(9))[:-20], "its evidence is unreadable"),
    "of another task": (lambda: zeros(np.zeros(9)), "the evidence is none of links/cora"),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_hostile_evidence_is_refused_in_one_line(name: str, honest: Files, tmp_path: Path) -> None:
    make, reason = EVIDENCE[name]
    assert reason in refused(packed({**honest, of(honest, "evidence/"): make()}, tmp_path), tmp_path / "records")


def test_a_record_without_evidence_is_refused(honest: Files, tmp_path: Path) -> None:
    files = {name: content for name, content in honest.items() if not name.startswith("evidence/")}
    assert "without evidence" in refused(packed(files, tmp_path), tmp_path / "records")


def test_a_good_record_beside_a_bad_one_is_accepted(honest: Files, tmp_path: Path) -> None:
    bad = with_record(honest, in_spec(task_version=9))
    report = review(packed({**honest, **bad}, tmp_path), into=tmp_path / "records")
    assert len(report.accepted) == len(report.refused) == 1


# --- what would replace another record -----------------------------------------------------------


def again(files: Files, change: Callable[[dict], None]) -> Files:
    """``files`` with another attempt at the same run."""
    return with_record(files, lambda tree: (change(tree), tree.update(attempt="f" * 12)))


def tomorrow(tree: dict) -> None:
    tree.update(ended=f"{datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1):%Y-%m-%dT%H:%M:%S}+00:00")


def less(tree: dict) -> None:
    """A metric less, so that what is said agrees with its evidence."""
    tree["metrics"].pop(next(name for name in tree["metrics"] if name != tree["primary"]))


def test_a_submission_replaces_nothing_unless_it_is_asked_to(honest: Files, tmp_path: Path) -> None:
    into = tmp_path / "records"
    first = review(packed(honest, tmp_path), accept=True, into=into)
    key, before = first.accepted[0].record.key, {file: file.read_bytes() for file in into.rglob("*") if file.is_file()}
    same = review(packed(again(honest, lambda tree: None), tmp_path), into=into)
    assert len(same.accepted) == 1 and not same.held, "another attempt that found the same"
    other = packed(again(honest, less), tmp_path)
    report = review(other, accept=True, into=into)
    assert not report.accepted and not report.refused and not report.written
    assert "there is a record of this run already, in which" in report.held[0] and f"--replace {key} takes it in" in report.held[0]
    assert {file: file.read_bytes() for file in into.rglob("*") if file.is_file()} == before
    with pytest.raises(UserError, match="no run that is held back"):
        review(other, into=into, replace=["0" * 16])
    report = review(other, accept=True, into=into, replace=[key])
    assert len(report.accepted) == 1 and len(report.flagged) >= 1 and not report.held
    assert [line.record.attempt for line in taken(into)] == ["f" * 12] and taken(into)[0].evidence is not None
    assert [path.name for path in (into / "links/cora").iterdir()] == [f"adamic-adar-{'f' * 12}.npz"], "nothing of the other is left"


def test_what_ends_in_the_future_and_what_is_evidence_twice_is_held_back(honest: Files, tmp_path: Path) -> None:
    report = review(packed(again(honest, tomorrow), tmp_path), accept=True, into=tmp_path / "records")
    assert not report.accepted and "which is yet to come" in report.held[0] and not (tmp_path / "records").exists()
    twice = {**honest, **with_record(honest, lambda tree: (tree["spec"].update(seed=8), tree.update(attempt="e" * 12)))}
    report = review(packed(twice, tmp_path), into=tmp_path / "records")
    assert len(report.accepted) == 1 and len(report.held) == 1 and "its evidence is that of the run" in report.held[0]


def test_what_is_packed_says_nothing_of_the_machine(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    spec = resolve("test/blobs", "test-linear", budget="smoke", overrides={"wandb.entity": "somebody"}, paths=(str(PLUGINS),))
    record = execute(spec, home)
    assert "wandb" not in record.spec["config"]
    tree = json.loads((file := next(home.glob("*/attempts/*.json"))).read_text())
    tree["spec"]["config"]["wandb"] = {"entity": "somebody"}
    tree["warnings"] = [
        f"UserWarning: {Path.home()}/x/y.csv is old",
        "UserWarning: The `srun` command is available ... srun python /a/b.py",
    ]
    file.write_text(json.dumps({**tree, "digest": records.digest_of(tree)}))
    (home / spec.key / "pictures" / "secret.png").symlink_to("/etc/passwd")
    with pytest.warns(UserWarning, match="secret.png: is a link"):
        packed_file = submit(home, tmp_path / "x")
    files = untrusted.contents_of(packed_file)
    assert not any("secret" in name for name in files)
    said = json.loads(files[of(files, "records/")])
    assert said["warnings"] == ["UserWarning: y.csv is old"] and "wandb" not in said["spec"]["config"]
    assert not any(word in content for word in (b"somebody", str(tmp_path).encode(), str(PLUGINS).encode()) for content in files.values())
    assert len(review(packed_file, into=tmp_path / "records", paths=PATHS).accepted) == 1


def test_markup_is_kept_as_text_and_flagged(honest: Files, tmp_path: Path) -> None:
    note = "<script>alert(1)</script>"
    report = review(
        packed(with_record(honest, lambda tree: tree["notes"].update(why=note)), tmp_path), accept=True, into=tmp_path / "records"
    )
    assert any("'notes', 'why' holds markup" in line for line in report.flagged)
    assert taken(tmp_path / "records")[0].record.notes["why"] == note


def test_a_method_that_may_come_to_test_data_is_shown(tmp_path: Path) -> None:
    text = (PLUGINS / "linear.py").read_text(encoding="utf-8")
    (tmp_path / "linear.py").write_text(f"{text}\n\ndef peek():\n    from elboard.tasks.data import loaders\n")
    paths = (tmp_path / "linear.py", PLUGINS / "blobs.py")
    execute(resolve("test/blobs", "test-linear", budget="smoke", paths=tuple(map(str, paths))), tmp_path / "runs")
    report = review(submit(tmp_path / "runs", tmp_path / "x"), into=tmp_path / "records", paths=paths)
    (flag,) = [line for line in report.flagged if "test data" in line]
    assert flag.endswith(f"linear.py:{len(text.splitlines()) + 4}: imports elboard.tasks.data.loaders") and len(report.accepted) == 1


def test_commands(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    verifying.submit(tmp_path / "mine", out=runs)
    file = tmp_path / "mine.elboard.zip"
    assert verifying.review(file, accept=False) == 0
    assert "1 records accepted, 0 refused" in capsys.readouterr().out
    file.write_bytes(b"no zip")
    assert verifying.review(file, accept=True) == 1
    assert "refused: mine.elboard.zip: not a readable zip archive" in capsys.readouterr().out
