"""Getting data sets: sources in their order, checksums, messages, and nothing half-written."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import re
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elboard.bench.cli import main
from elboard.tasks.data import fetch, loaders

CLOSED = "http://127.0.0.1:9/"  # the port of "discard", on which nothing listens


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
BYTES = gzip.compress(idx(IMAGES), mtime=0)
CONTENT = fetch.content_hash({"x": IMAGES})


def cases(**data: bytes) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("data", list(data.values()), ids=list(data))


def entry(*sources: dict, content: str = CONTENT) -> dict:
    return {"title": "toy", "licence": "none", "citation": "nobody", "content": content, "sources": list(sources)}


def source(kind: str, path: str = "x.gz", sha: str = "", **more: object) -> dict:
    return {"kind": kind, "convert": "idx", "files": {"x": {"path": path, "sha256": sha or sha256(BYTES)}}, **more}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELBOARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ELBOARD_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def toy(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Make ``toy`` the only data set: ``toy(source, ...)``."""

    def install(*sources: dict, **options: str) -> None:
        monkeypatch.setattr(fetch, "_table", lambda: {"toy": entry(*sources, **options)})

    return install


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data that ``ELBOARD_DATA`` names, with the good file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.gz").write_bytes(BYTES)
    monkeypatch.setenv("ELBOARD_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server on this machine: its address, its folder, and the paths that were asked for."""
    root, asked = tmp_path / "www", []
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object):
            super().__init__(*args, directory=str(root))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", root, asked
        running.shutdown()
        thread.join()


def message(name: str = "toy") -> str:
    with pytest.raises(fetch.DataError) as caught:
        fetch.fetch(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*")]


# --- the folder ---------------------------------------------------------------------------------------


def test_a_local_folder_comes_first(toy, folder: Path, cache: Path, server: tuple) -> None:
    address, _, asked = server
    toy(source("url", urls=[address]), source("local"))
    assert fetch.available("toy") and not cache.exists()
    assert (loaders.arrays("toy")["x"] == IMAGES).all() and asked == []
    assert left(cache) == [f"toy-{CONTENT[:12]}.npz"]
    assert fetch.check("toy") == (True, f"good ({CONTENT[:12]})") and fetch.checksums(("toy",)) == {"toy": CONTENT}


def test_the_cache_is_enough(toy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(source("local"))
    path = fetch.fetch("toy")
    monkeypatch.delenv("ELBOARD_DATA")
    monkeypatch.setattr(fetch, "_from", None)
    assert fetch.fetch("toy") == path and fetch.available("toy")


def test_a_damaged_cache_is_named(toy, folder: Path) -> None:
    toy(source("local"))
    path = fetch.fetch("toy")
    whole = path.read_bytes()
    for damage in (whole[:-30], whole.replace(IMAGES.tobytes(), bytes(18)), b"", b"<html>"):
        path.write_bytes(damage)
        with pytest.raises(fetch.DataError, match=re.escape(f"{path} is damaged; delete it and fetch again")):
            loaders.arrays("toy")
        assert fetch.check("toy") == (False, f"{path} is damaged; delete it and fetch again")
    np.savez(path, x=IMAGES + 1)
    good, said = fetch.check("toy")
    assert not good and f"expected {CONTENT}" in said


# --- what was tried ---------------------------------------------------------------------------------


def test_the_message_names_every_source(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(words: list[str], folder: Path) -> None:
        raise fetch._SourceError(f"{' '.join(words[:2])} does not work here")

    monkeypatch.setattr(fetch, "_call", call)
    toy(
        source("local", path="toy/x.gz"),
        source("url", urls=[CLOSED + "a/", CLOSED + "b/"]),
        source("npm", package="toy-data@1.0.0"),
        source("debian", package="dataset-toy"),
    )
    said = message()
    for part in (
        "data set 'toy' cannot be had. Tried ELBOARD_DATA: not set; ",
        f"{CLOSED}a/ and {CLOSED}b/: no answer (ConnectionError); ",
        "npm toy-data@1.0.0: npm pack does not work here; ",
        "debian dataset-toy: apt-get -o does not work here. ",
        "To go on, try again online, or put toy/x.gz and so on into a folder and set ELBOARD_DATA to it",
    ):
        assert part in said, said


def test_a_missing_command_is_named(toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    toy(source("npm", package="toy@1"), source("debian", package="toy"))
    assert "npm toy@1: there is no command npm; debian toy: there is no command apt-get" in message()


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(fetch._SourceError, match=r"sh failed \(no such package\)"):
        fetch._call(["sh", "-c", "echo first >&2; echo no such package >&2; exit 3"], tmp_path)
    with pytest.raises(fetch._SourceError, match=r"no \*\.whl came"):
        fetch._one(tmp_path, "*.whl")


def test_a_tool_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "INSTALL_TIMEOUT", 0.1)
    with pytest.raises(fetch._SourceError, match="sleep did not answer"):
        fetch._call(["sleep", "5"], tmp_path)


def test_missing_files_and_empty_folders(toy, folder: Path) -> None:
    toy(source("local", path="toy/x.gz"))
    assert f"Tried ELBOARD_DATA={folder}: toy/x.gz is not there." in message()
    assert not fetch.available("toy") and fetch.check("toy") == (True, "not here")


def test_unknown_names() -> None:
    assert message("mnits").startswith("no data set 'mnits': did you mean 'mnist'")


@cases(empty=b"", magic=b"\x1f\x8b", short=gzip.compress(b"short"), cut=idx(IMAGES)[:-4], page=b"<html>moved</html>")
def test_a_file_of_another_kind_is_no_traceback(toy, folder: Path, cache: Path, data: bytes) -> None:
    """Sources without checksums of their files: what comes is not what was meant."""
    (folder / "x.gz").write_bytes(data)
    wanted = source("local")
    del wanted["files"]["x"]["sha256"]
    toy(wanted)
    assert f"ELBOARD_DATA={folder}: its files cannot be read (" in message() and left(cache) == []


def test_a_run_without_data_is_a_failed_run_and_says_why(
    cache: Path, home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_table", lambda: {"mnist": entry(source("url", urls=[CLOSED]))})
    assert main(["run", "generation/mnist", "vae", "--budget", "lite", "train.epochs=1"]) == 1
    err = capsys.readouterr().err
    assert f"infra: DataError: data set 'mnist' cannot be had. Tried {CLOSED}: no answer" in err and "Traceback" not in err
    (attempt,) = home.glob("*/attempts/*.json")
    assert json.loads(attempt.read_text())["failure"]["class"] == "infra"


def test_the_command_goes_on_after_a_set_that_cannot_be_had(
    cache: Path, folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_table", lambda: {"a": entry(source("url", urls=[CLOSED])), "b": entry(source("local"))})
    assert main(["data", "fetch", "all"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: data set 'a' cannot be had") and err.count("\n") == 1 and out.startswith("b: ")
    assert main(["data", "check", "b"]) == 0 and main(["data", "list"]) == 0


# --- checksums --------------------------------------------------------------------------------------


def test_a_wrong_checksum_of_a_file_is_refused(toy, folder: Path, cache: Path) -> None:
    (folder / "x.gz").write_bytes(BYTES + b"\0")
    toy(source("local"))
    assert f"x.gz has sha256 {sha256(BYTES + bytes(1))}, expected {sha256(BYTES)}: refused" in message() and left(cache) == []


def test_a_wrong_content_is_refused(toy, folder: Path, cache: Path) -> None:
    toy(source("local"), content="0" * 64)
    assert f"its content has sha256 {CONTENT[:16]}..., not {'0' * 16}..." in message() and left(cache) == []


def test_a_wrong_download_is_refused(toy, cache: Path, server: tuple) -> None:
    address, root, asked = server
    (root / "x.gz").write_bytes(b"not what was published")
    toy(source("url", urls=[address]))
    assert f"{address}: wrong checksum: refused" in message()
    assert asked == ["/x.gz"] and left(cache) == []


# --- downloads --------------------------------------------------------------------------------------


def test_a_download_over_http(toy, cache: Path, server: tuple) -> None:
    address, root, asked = server
    (root / "x.gz").write_bytes(BYTES)
    toy(source("local"), source("url", urls=[address]))
    assert (loaders.arrays("toy")["x"] == IMAGES).all() and asked == ["/x.gz"]
    assert (loaders.arrays("toy")["x"] == IMAGES).all() and asked == ["/x.gz"], "the second time from the cache"


def test_mirrors_follow_one_another(toy, server: tuple) -> None:
    address, root, asked = server
    (root / "bad").mkdir()
    (root / "good").mkdir()
    (root / "bad" / "x.gz").write_bytes(b"damaged")
    (root / "good" / "x.gz").write_bytes(BYTES)
    toy(source("url", urls=[CLOSED, address + "absent/", address + "bad/", address + "good/"]))
    assert (loaders.arrays("toy")["x"] == IMAGES).all() and asked == ["/absent/x.gz", "/bad/x.gz", "/good/x.gz"]


def test_a_page_that_is_not_there_is_quoted(toy, server: tuple) -> None:
    toy(source("url", urls=[server[0]]))
    assert "404" in message()


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_gives_its_members_and_nothing_else(toy, server: tuple, tmp_path: Path, pack) -> None:
    address, root, _ = server
    data = pack({"../evil": b"x", "/tmp/evil-absolute": b"x", "in/x.gz": BYTES, "in/other": b"x"})
    (root / "toy.bin").write_bytes(data)
    toy(source("url", path="in/x.gz", urls=[address], archive={"path": "toy.bin", "sha256": sha256(data)}))
    assert (loaders.arrays("toy")["x"] == IMAGES).all()
    aside = tmp_path / "a" / "b"
    aside.mkdir(parents=True)
    (aside / "toy.bin").write_bytes(data)
    fetch._extract(aside / "toy.bin", aside, ["in/x.gz"])
    assert sorted(path.relative_to(tmp_path / "a").as_posix() for path in aside.rglob("*") if path.is_file()) == ["b/in/x.gz", "b/toy.bin"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "in/../../evil", "C:/../../evil"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_hostile_name_writes_nothing_outside(tmp_path: Path, pack, name: str) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "a.bin").write_bytes(pack({name: b"x"}))
    try:
        fetch._extract(inner / "a.bin", inner, [name])
    except fetch._SourceError as error:
        assert "a.bin: " in str(error)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and inner not in path.parents]
    assert outside == [] and not Path("/evil").exists()


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"keep")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.tgz").write_bytes(tarred({}, {"x": str(secret), "y": "../secret"}))
    for name in ("x", "y"):
        with pytest.raises(fetch._SourceError, match="a.tgz: .*Link"):
            fetch._extract(inner / "a.tgz", inner, [name])
    assert [path.name for path in inner.iterdir()] == ["a.tgz"]


@cases(empty=b"", text=b"no archive", zip=zipped({"other": b""}), tar=tarred({"other": b""}), cut=tarred({"x": BYTES * 9})[:60])
def test_archives_that_are_damaged_or_lack_the_member(toy, server: tuple, cache: Path, data: bytes) -> None:
    address, root, _ = server
    (root / "toy.bin").write_bytes(data)
    toy(source("url", path="x", urls=[address], archive={"path": "toy.bin", "sha256": sha256(data)}))
    assert f"{address}: toy.bin: " in message() and left(cache) == []


# --- writing ----------------------------------------------------------------------------------------


def test_an_interruption_leaves_nothing(toy, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(source("local"))
    save = np.savez

    def interrupted(file, **arrays: np.ndarray) -> None:
        file.write(b"half")
        file.flush()
        assert len(left(cache)) == 1, "written beside its place"
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("toy")
    assert left(cache) == [] and not fetch._cached("toy").exists()
    monkeypatch.setattr(np, "savez", save)
    assert (loaders.arrays("toy")["x"] == IMAGES).all()


def test_an_interrupted_download_leaves_nothing(toy, cache: Path, server: tuple, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address, root, _ = server
    (root / "x.gz").write_bytes(BYTES)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(fetch.tempfile, "tempdir", str(tmp_path / "temporary"))
    toy(source("url", urls=[address]))

    def interrupted(*args: object) -> None:
        assert any((tmp_path / "temporary").rglob("*.gz")), "it has come"
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_checked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("toy")
    assert left(cache) == [] and list((tmp_path / "temporary").iterdir()) == []


def test_a_cache_that_cannot_be_written(toy, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(source("local"))
    cache.write_text("a file")
    assert re.fullmatch(f"{cache}: cannot be written .*; set ELBOARD_CACHE to another folder", message()), "no other source is to blame"
    cache.unlink()

    def full(file, **arrays: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert f"{cache}: cannot be written (No space left on device); set ELBOARD_CACHE to another folder" in message()
    assert left(cache) == []
