"""The app, and the options that several commands have. The modules beside this one hold the commands.

A command's docstring is its help. It returns the exit code where that may be other than 0, and raises UserError for a user's mistake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from elboard.bench.folders import existing, path_of

# In the order of ``--help``:
MODULES = ("listing", "running", "watching", "boards", "papers", "verifying", "store")

app = typer.Typer(
    help="ELBOard: a benchmark of variational, dropout, Bayesian and generative deep learning.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Paths = Annotated[list[Path], typer.Option("--path", help="Folder or file with methods and tasks outside the package; repeatable.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of runs (default: $ELBOARD_HOME, else ./runs).")]
OutThere = Annotated[
    Path | None, typer.Option("--out", parser=existing, metavar="PATH", help="A folder of runs (default: $ELBOARD_HOME, else ./runs).")
]
TrackerName = Annotated[str, typer.Option("--tracker", help="none, csv or wandb.")]
Force = Annotated[bool, typer.Option("--force", help="Run again what is done.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Shipped = Annotated[bool, typer.Option(help="Also show the reference records that ship with the package.")]
Counted = Annotated[bool, typer.Option(help="Also count the reference records that ship with the package.")]
Engine = Annotated[str, typer.Option(help="local, slurm, ray, or one of a plug-in.")]


def argument(help: str) -> Any:
    """A path as an argument of a command."""
    return typer.Argument(parser=path_of, metavar="PATH", help=help)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if show:
        from elboard import __version__

        print(__version__)
        raise typer.Exit
