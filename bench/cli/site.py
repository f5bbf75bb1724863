"""``site`` and ``serve``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def site_command(folder: Path, out: Path | None, shipped: bool = True, paths: tuple[Path, ...] = ()) -> None:
    """Write the leaderboard as a static site to ``folder``, from the records of the runs' folder ``out``."""
    from elboard.bench.run import root_folder
    from elboard.results.board.site import build

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        report = build(folder, root_folder(out), shipped, paths)
    for warning in heard:
        print(f"warning: {warning.message}", file=sys.stderr)
    print(f"{folder / 'index.html'}: {report.pages} pages, {report.bytes / 2**20:.1f} MiB, {report.seconds:.1f} s")


def serve_command(port: int, out: Path | None, shipped: bool = True, paths: tuple[Path, ...] = ()) -> None:
    """Serve the site on 127.0.0.1 and build it again when records change, until Ctrl-C."""
    from elboard.bench.run import root_folder
    from elboard.results.board.site import serve

    serve(root_folder(out), port, shipped, paths)
