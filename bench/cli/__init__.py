"""The command ``elboard``: parse, call, print. Commands import what is heavy when they run, so that ``--help`` is instant."""

from __future__ import annotations

import importlib
import signal
import sys


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's). Returns the exit code: 0 all done, 1 a run failed, 2 a user's mistake."""
    from elboard.bench.cli.app import MODULES, app
    from elboard.bench.errors import UserError

    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}")
    try:
        code = app(args=words, standalone_mode=False, prog_name="elboard")
        return code if isinstance(code, int) else 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, and the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # ``elboard list methods | head``
        sys.stderr.close()
        return 0
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("click", "typer"):  # its own usage errors
            return _usage(error)
        raise


def _usage(error: Exception) -> int:
    if type(error).__name__ in ("Exit", "Abort"):
        return int(getattr(error, "exit_code", 1))
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def entry() -> None:
    """The console script. SIGTERM is taken as Ctrl-C: runs save checkpoints and sweeps say what is left."""
    signal.signal(signal.SIGTERM, _terminated)
    raise SystemExit(main())
