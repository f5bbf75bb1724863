"""The site's server: who is answered, for how long it waits, and how many at a time."""

from __future__ import annotations

import functools
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from elboard.results.board.site.serve import HOST, WAITING, _Quiet, _Server


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(_Quiet, "timeout", 0.5)
    (tmp_path / "index.html").write_text("here")
    (tmp_path / "pictures").mkdir()
    server = _Server((HOST, 0), functools.partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def status(port: int, path: str = "/", host: str = "localhost") -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    return connection.getresponse().status


def test_only_who_asks_for_this_machine_is_answered(port: int) -> None:
    """A page elsewhere whose name turns to this address sends its own name."""
    for host in ("localhost", f"127.0.0.1:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert status(port, host=host) == 200, host
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:x"):
        assert status(port, host=host) == 421, host


def test_no_folder_is_listed(port: int) -> None:
    assert status(port, "/pictures/") == 404 and status(port, "/index.html") == 200


def test_two_hundred_at_once_and_none_that_says_nothing_stays(port: int) -> None:
    silent = [socket.create_connection((HOST, port), timeout=20) for _ in range(200)]
    assert status(port) == 200
    assert all(one.recv(1) == b"" for one in silent), "closed by the server"
    for one in silent:
        one.close()
    assert WAITING >= 200
