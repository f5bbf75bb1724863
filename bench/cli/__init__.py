"""The command ``elboard``: parse, call, print. Commands import what is heavy when they run, so that ``--help`` is instant."""

from __future__ import annotations

import importlib
import sys
import threading

from elboard.bench import stopping


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's). Returns the exit code: 0 all done, 1 a run failed, 2 a user's mistake."""
    from elboard.bench.cli.app import MODULES, app
    from elboard.bench.errors import UserError, printable

    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}")
    try:
        code = app(args=words, standalone_mode=False, prog_name="elboard")
        return code if isinstance(code, int) else 0
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, and the same command goes on from here", file=sys.stderr)
        return 130
    except OSError as error:
        return _refused(error)
    except SystemExit as error:  # typer's, at a pipe that has broken
        if not isinstance(error.__context__, OSError):
            raise
        return _refused(error.__context__)
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("click", "typer"):  # its own usage errors
            return _usage(error)
        raise


def _refused(error: OSError) -> int:
    """What the machine does not allow, as a line: a name too long, a folder that is another's, a full disk."""
    from elboard.bench.errors import printable

    named = f"{error.filename}: " if error.filename is not None else ""
    print(f"error: {printable(f'{named}{error.strerror or type(error).__name__}')}", file=sys.stderr)
    return 2


def _usage(error: Exception) -> int:
    if type(error).__name__ in ("Exit", "Abort"):
        return int(getattr(error, "exit_code", 1))
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def entry() -> None:
    """The console script. SIGTERM and SIGHUP are taken as Ctrl-C: runs save checkpoints and sweeps say what is left."""
    from elboard.bench.cli import streams

    streams.settle()
    stopping.hear(_terminated, *stopping.END)
    code = streams.settled(main())
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):  # anybody's, may never end
        stopping.end_within(stopping.LEAVE, code)
    raise SystemExit(code)
