"""The site on this machine's loopback address, built again when records change."""

from __future__ import annotations

import functools
import re
import tempfile
import threading
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from elboard.bench.errors import UserError
from elboard.results.board.site.build import build

HOST = "127.0.0.1"
INTERVAL = 2.0  # seconds between looks at the records
WAITING = 200  # connections that are taken before a thread has time for them
NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)  # any other may be a page's that has turned its name on us


class _Server(ThreadingHTTPServer):
    request_queue_size = WAITING

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that has gone away is no news."""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files to those who asked for this machine, nothing is cached, nothing is printed, no folder is listed."""

    timeout = 10.0  # seconds for a request to come

    def send_head(self) -> BinaryIO | None:
        if NAMES.fullmatch(self.headers.get("Host", "")):
            return super().send_head()
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return None

    def list_directory(self, path: str) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class Site:
    """A site in a temporary folder, served from a thread; ``close`` ends both.

    Attributes:
        address: where it is served, ``http://127.0.0.1:PORT/``.
    """

    def __init__(self, root: Path | None, port: int = 8000, shipped: bool = True, paths: tuple[Path, ...] = ()) -> None:
        """Build and serve; ``port`` 0 takes a free one. Raises UserError where the port is taken."""
        self._root, self._shipped, self._paths = root, shipped, paths
        self._folder = tempfile.TemporaryDirectory(prefix="elboard-site-")
        try:
            self._server = _Server((HOST, port), functools.partial(_Quiet, directory=self._folder.name))
        except OSError as error:
            self._folder.cleanup()
            raise UserError(f"cannot serve on {HOST}:{port} ({error.strerror}); take another --port") from None
        self.address = f"http://{HOST}:{self._server.server_address[1]}/"
        self._seen = stamp(root)
        build(Path(self._folder.name), root, shipped, paths)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def refresh(self) -> bool:
        """Build again if records have changed since; whether they have."""
        now = stamp(self._root)
        if now == self._seen:
            return False
        self._seen = now
        build(Path(self._folder.name), self._root, self._shipped, self._paths)
        return True

    def close(self) -> None:
        """Stop serving and remove the folder."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()


def stamp(root: Path | None) -> tuple[int, int]:
    """Number of folders of attempts under ``root`` and the newest of their modification times, in nanoseconds.

    A record is renamed into such a folder, which changes the folder's time; so no file of a record need be looked at.
    """
    times = [folder.stat().st_mtime_ns for folder in root.glob("*/attempts")] if root is not None and root.is_dir() else []
    return len(times), max(times, default=0)


def serve(root: Path | None, port: int = 8000, shipped: bool = True, paths: tuple[Path, ...] = ()) -> None:
    """Serve the site on the loopback address until Ctrl-C. Raises UserError where the port is taken."""
    site = Site(root, port, shipped, paths)
    print(f"{site.address}   Ctrl-C stops it")
    wait = threading.Event()
    try:
        while not wait.wait(INTERVAL):
            if site.refresh():
                print("records have changed: built again")
    except KeyboardInterrupt:
        print()
    finally:
        site.close()
