"""Archives that are no submissions: each is refused as a whole, in one line, before anything of it is written."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from elboard.results import untrusted
from elboard.results.submission import review


def refused(file: Path, into: Path) -> str:
    """The one line with which the whole of ``file`` is refused; nothing is written."""
    report = review(file, accept=True, into=into)
    assert not report.accepted and not report.written and len(report.refused) == 1, report
    assert not into.exists() and len(report.refused[0].splitlines()) == 1 and report.refused[0].isprintable()
    return report.refused[0]


def packed(tmp_path: Path) -> Path:
    untrusted.pack(HONEST, tmp_path / "x.elboard.zip")
    return tmp_path / "x.elboard.zip"


def raw(files: list[tuple[str | zipfile.ZipInfo, bytes]], tmp_path: Path, method: int = zipfile.ZIP_STORED) -> Path:
    """A zip file as someone else might write it."""
    path = tmp_path / "x.elboard.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def two_names(name: str) -> zipfile.ZipInfo:
    """An entry that Python reads under a shorter name than it is written."""
    info = zipfile.ZipInfo(name)
    info.filename = f"{name}\0/../../evil"
    return info


STEM = "0123456789abcdef.a"
RECORD = f"records/{STEM}.json"
HONEST = {RECORD: b'{"ap": 1}' * 40, f"evidence/{STEM}.npz": bytes(range(256))}
ARCHIVES = {
    "path traversal": ([("../../evil.json", b"{}")], "leads out of the archive"),
    "hidden traversal": ([("records/../../evil.json", b"{}")], "leads out of the archive"),
    "absolute path": ([("/etc/cron.d/evil", b"x")], "leads out of the archive"),
    "drive": ([("C:evil.json", b"x")], "leads out of the archive"),
    "backslashes": ([("records\\..\\evil.json", b"x")], "leads out of the archive"),
    "symlink": ([(entry(RECORD, stat.S_IFLNK | 0o777), b"/etc/passwd")], "is a link or no plain file"),
    "device": ([(entry(RECORD, stat.S_IFCHR | 0o666), b"")], "is a link or no plain file"),
    "another name": ([("setup.py", b"import os")], "none of a submission's"),
    "two names": ([(two_names(RECORD), b"{}")], "is 'records/0123456789abcdef.a.json\\x00/../../evil' too"),
    "a vast manifest": ([("manifest.json", bytes(9 * 2**20))], "more than 8388608"),
    "no manifest": ([(RECORD, b"{}")], "it has no manifest.json"),
    "future manifest": ([("manifest.json", b'{"schema": 99, "files": {}}')], "schema 99"),
    "not listed": ([("manifest.json", b'{"schema": 1, "files": {}}'), (RECORD, b"{}")], "not both in the archive and"),
    "not there": ([("manifest.json", b'{"schema": 1, "files": {"records/a.json": {}}}')], "not both in the archive and"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    files, reason = ARCHIVES[name]
    assert reason in refused(raw(files, tmp_path), tmp_path / "records")


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = raw([(RECORD, b"{}"), (RECORD, b"[]")], tmp_path)
    assert "is there twice" in refused(file, tmp_path / "records")
    assert "is there twice" in refused(raw([(RECORD, b"{}"), (RECORD.replace(".a", ".A"), b"[]")], tmp_path), tmp_path / "records")


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    file = raw([(RECORD, bytes(30 * 2**20))], tmp_path, zipfile.ZIP_DEFLATED)
    assert "inflates" in refused(file, tmp_path / "records") and file.stat().st_size < 2**20


def test_an_entry_that_hides_its_size_is_refused(tmp_path: Path) -> None:
    content = bytes(5 * 2**20)
    file = raw([(RECORD, content)], tmp_path, zipfile.ZIP_DEFLATED)
    file.write_bytes(file.read_bytes().replace(len(content).to_bytes(4, "little"), (99).to_bytes(4, "little")))
    assert "not a readable zip archive" in refused(file, tmp_path / "records")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    file = raw([(RECORD, b"{}")], tmp_path)
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    assert "encrypted" in refused(file, tmp_path / "records")


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path)
    with zipfile.ZipFile(file) as archive:
        manifest = archive.read("manifest.json")
    files = [("manifest.json", manifest), *((name, content.replace(b'"ap"', b'"AP"')) for name, content in HONEST.items())]
    assert "another hash or size" in refused(raw(files, tmp_path), tmp_path / "records")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_truncated_archive_is_refused(keep: float, tmp_path: Path) -> None:
    file = packed(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    assert "not a readable zip archive" in refused(file, tmp_path / "records")


@pytest.mark.parametrize(
    ("text", "reason"), [(b'{"a": NaN}', "holds NaN"), (b'{"a": 1, "a": 2}', "twice"), (b"[" * 10**5, "not valid JSON")]
)
def test_json_that_is_none_is_refused(text: bytes, reason: str, tmp_path: Path) -> None:
    untrusted.pack({**HONEST, RECORD: text}, tmp_path / "x.elboard.zip")
    assert reason in refused(tmp_path / "x.elboard.zip", tmp_path / "records")
