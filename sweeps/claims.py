"""Who runs what: one claim file a run, safe on shared folders (NFS included).

``<root>/<key>/claim`` is made with O_EXCL by the process that is about to run ``key``, and its modification time is its heartbeat. A claim
whose heartbeat is older than the lease belongs to a dead process and may be taken over: the new claim is made with O_EXCL under a name that
the dead one's token gives, which one taker alone can do, and renamed into its place, so that at no moment there is none.
Ages are differences between two times that the file server gave, so that clocks of nodes do not matter.

A claim saves work, it does not protect results: should two processes run one key after all (a node that was cut off for longer than the
lease), both write their own attempt and the reader takes one by rule.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEASE = 90.0  # seconds without a heartbeat after which a claim is dead
BEAT = 10.0  # seconds between heartbeats
NAME = "claim"
TOKEN = re.compile(r"[0-9a-zA-Z-]{1,64}")


@dataclass(frozen=True)
class Claim:
    """A claim held by this process. ``dead`` is the content of the claim of a dead process that it took the place of."""

    file: Path
    token: str
    dead: dict | None = None

    def holds(self) -> bool:
        """Whether the file is still this claim's."""
        with contextlib.suppress(OSError):
            return _content(self.file).get("token") == self.token
        return False

    def release(self) -> None:
        """Give the run back; a claim that was taken over is left to its new owner."""
        if self.holds():
            self.file.unlink(missing_ok=True)


def take(folder: Path, owner: str = "", lease: float = LEASE) -> Claim | None:
    """Claim the run of ``folder``, or None where a living process has it.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, token = folder / NAME, uuid.uuid4().hex
    content = json.dumps({"token": token, "owner": owner, **process()})
    for _ in range(3):  # a claim that is released between two looks makes room
        try:
            _make(file, content)
            return Claim(file, token)
        except FileExistsError:
            old = read(folder)
        if old is not None:
            taken = _dead(old, lease) and _take_over(folder, old, content, lease)
            return Claim(file, token, old) if taken else None
    return None


def _make(file: Path, content: str) -> None:
    """Create ``file``. Raises FileExistsError, and OSError where it cannot be written."""
    handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(content)
    except OSError:  # a full disk: a claim that names nobody would hold the run until its lease is over
        file.unlink(missing_ok=True)
        raise


def _take_over(folder: Path, old: dict, content: str, lease: float) -> bool:
    """Put a claim in the place of ``old``, a dead one: whether this process was the one to do it."""
    heir = folder / f".{NAME}.{_token(old)}"
    try:
        _make(heir, content)
    except FileExistsError:  # another process is at it, or died at it
        with contextlib.suppress(FileNotFoundError):
            if _now(folder) - heir.stat().st_mtime > lease:
                heir.unlink()
        return False
    try:
        now = read(folder)
        if now is None or now.get("token") != old.get("token") or not _dead(now, lease):
            return False  # taken over before this process had made the heir's file
        os.replace(heir, folder / NAME)
        return True
    finally:
        heir.unlink(missing_ok=True)


def read(folder: Path) -> dict | None:
    """Owner, host, pid and token of the claim in ``folder``, and ``age`` in seconds since its last heartbeat; None where there is none.

    Of a claim that is being written, or whose writer died at it, the age alone is known. Warns of one that is no process's: its heartbeat
    is yet to come, which makes it dead, or its token is none.
    """
    file = folder / NAME
    with contextlib.suppress(OSError):
        content, age = _content(file), _now(folder) - file.stat().st_mtime
        if content and _token(content) != content.get("token"):
            warnings.warn(f"{file}: the token is none that a process of ours has", stacklevel=2)
        if age < -LEASE:
            warnings.warn(f"{file}: its last heartbeat is in the future; it is taken for dead", stacklevel=2)
            age = math.inf
        return {**content, "age": max(0.0, age)}
    return None


def process() -> dict:
    """This process, as its claims name it."""
    return {"host": socket.gethostname(), "pids": _pids(), "pid": os.getpid()}


def release_of(folder: Path, owner: dict) -> None:
    """Remove the claim of a process of any host that is known to be dead; ``owner`` is what :func:`process` gave there."""
    with contextlib.suppress(OSError):
        content = _content(folder / NAME)
        if content and all(content.get(name) == value for name, value in owner.items()):
            Claim(folder / NAME, content.get("token", "")).release()


def alive(folder: Path, lease: float = LEASE) -> bool:
    """Whether a living process holds the run of ``folder``."""
    content = read(folder)
    return content is not None and not _dead(content, lease)


@contextlib.contextmanager
def heartbeat(claim: Claim, every: float = BEAT) -> Iterator[None]:
    """Keep ``claim`` alive from a thread, and release it at the end."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every):
            with contextlib.suppress(OSError):
                os.utime(claim.file)

    thread = threading.Thread(target=beat, daemon=True, name="claim")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(OSError):
            claim.release()


def _token(content: dict) -> str:
    """The token of a claim; of one whose token could be no part of a file's name a hash of it."""
    token = content.get("token", "cut-off")
    return token if isinstance(token, str) and TOKEN.fullmatch(token) else hashlib.sha256(repr(token).encode()).hexdigest()[:32]


def _pids() -> str:
    """Names the space of process numbers: containers of one host have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _content(file: Path) -> dict:
    """What a claim says; nothing where it was cut off. Raises OSError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _now(folder: Path) -> float:
    """The time by the clock of the folder's file server; by this machine's for those who may only read there, and take no claims."""
    probe = folder / f".now.{uuid.uuid4().hex[:8]}"
    try:
        with open(probe, "w", encoding="utf-8"):
            return os.stat(probe).st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _dead(content: dict, lease: float) -> bool:
    """By age, or at once where the owner was a process of this host that is gone."""
    here = (content.get("host"), content.get("pids")) == (socket.gethostname(), _pids())
    if content["age"] <= lease and here and type(content.get("pid")) is int and 0 < content["pid"] < 2**31:
        try:
            os.kill(content["pid"], 0)
        except (ProcessLookupError, PermissionError) as error:
            return isinstance(error, ProcessLookupError)
    return content["age"] > lease
