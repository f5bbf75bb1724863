"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="ELBOard: a benchmark of variational, dropout, Bayesian and generative deep learning.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets: list, fetch, check.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Paths = Annotated[list[Path], typer.Option("--path", help="Folder or file with methods and tasks outside the package; repeatable.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of runs (default: $ELBOARD_HOME, else ./runs).")]
TrackerName = Annotated[str, typer.Option("--tracker", help="none, csv or wandb.")]
Force = Annotated[bool, typer.Option("--force", help="Run again what is done.")]


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, tasks, sweeps or papers.")],
    family: Annotated[str, typer.Option(help="Of methods, tasks and papers: this family alone.")] = "",
    state: Annotated[str, typer.Option(help="Of papers: none, code, runs, claim or full.")] = "",
    json: Annotated[bool, typer.Option("--json", help="As a list of objects.")] = False,
    out: Out = None,
    path: Paths = [],  # noqa: B006 (typer reads the default)
) -> None:
    """List methods, tasks, sweeps or papers."""
    from elboard.bench.cli.listing import print_list

    print_list(what, tuple(path), family, state, json, out)


@app.command()
def show(name: str, path: Paths = []) -> None:  # noqa: B006
    """Show a method or a task: its card, its options with their defaults, what it fits."""
    from elboard.bench.cli.listing import print_entry

    print_entry(name, tuple(path))


@app.command(context_settings={"allow_interspersed_args": True})
def run(
    task: str,
    method: str,
    options: Annotated[
        list[str], typer.Argument(help="key=value: latent_dim=8 train.epochs=3 trainer.devices=2 wandb.mode=offline ...")
    ] = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="One seed (default 0).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0-4 or 0,2,5.")] = None,
    budget: Annotated[str, typer.Option(help="smoke, lite or full.")] = "lite",
    json: Annotated[bool, typer.Option("--json", help="Print records as JSON lines.")] = False,
    tracker: TrackerName = "none",
    jobs: Annotated[int, typer.Option(help="Worker processes for several seeds.")] = 1,
    out: Out = None,
    force: Force = False,
    path: Paths = [],  # noqa: B006
) -> int:
    """Run a method on a task."""
    from elboard.bench.cli.running import run_command

    return run_command(task, method, options, seed, seeds, budget, json, tracker, jobs, out, force, tuple(path))


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(help="A sweep of `elboard list sweeps` (paper:SLUG, lite), or a YAML file.")],
    options: Annotated[list[str], typer.Argument(help="key=value, over what the file sets.")] = [],  # noqa: B006
    jobs: Annotated[int | None, typer.Option(help="Worker processes (default: one per core, one if there is a GPU).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs, what is done of them, and what the rest costs.")] = False,
    engine: Annotated[str, typer.Option(help="local, slurm, ray, or one of a plug-in.")] = "local",
    profile: Annotated[str, typer.Option(help="Of slurm: a YAML file, or a name of sweeps/profiles.")] = "slurm",
    max_jobs: Annotated[int | None, typer.Option(help="Of slurm: workers at a time (default: the profile's).")] = None,
    address: Annotated[str, typer.Option(help="Of ray: an existing cluster (default: one on this machine).")] = "",
    budget: Annotated[str, typer.Option(help="Of a paper's sweep: smoke, lite or full (default: lite).")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Of the sweep lite: every method on every task that it fits.")] = False,
    tracker: TrackerName = "none",
    out: Out = None,
    force: Force = False,
    path: Paths = [],  # noqa: B006
) -> int:
    """Run all runs of a sweep, then print its leaderboards. What is done is not run again."""
    from elboard.bench.cli.running import sweep_command
    from elboard.sweeps.named import find

    how = {"engine": engine, "jobs": jobs, "profile": profile, "max_jobs": max_jobs, "address": address}
    return sweep_command(find(name, budget, everything, tuple(path)), options, dry_run, how, tracker, out, force, tuple(path))


@app.command()
def status(
    sweep: Annotated[str, typer.Argument(help="A sweep's name or id.")],
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds until it is over.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    out: Out = None,
) -> None:
    """How far a sweep is, wherever it runs."""
    from elboard.bench.cli.watching import print_status

    print_status(sweep, watch, json, out)


@app.command()
def logs(
    key: Annotated[str, typer.Argument(help="A run's key, or its beginning.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on while the run goes on.")] = False,
    out: Out = None,
) -> None:
    """The log of a run."""
    from elboard.bench.cli.watching import print_logs

    print_logs(key, follow, out)


@app.command()
def cancel(sweep: Annotated[str, typer.Argument(help="A sweep's name or id.")], out: Out = None) -> None:
    """Cancel the Slurm jobs of a sweep, and no others."""
    from elboard.bench.cli.watching import cancel as cancel_sweep

    cancel_sweep(sweep, out)


@app.command()
def sync(out: Out = None) -> int:
    """Upload offline W&B runs with wandb's own tool."""
    from elboard.bench.cli.watching import sync as sync_runs

    return sync_runs(out)


@app.command()
def leaderboard(
    which: Annotated[str, typer.Argument(help="A task or a family; all if left out.")] = "",
    format: Annotated[str, typer.Option("--format", help="table, md, csv, json, latex or html.")] = "table",
    metric: Annotated[list[str], typer.Option("--metric", help="A metric to show, or `all`; repeatable.")] = [],  # noqa: B006
    sort: Annotated[str, typer.Option("--sort", help="The metric that orders and ranks (default: the task's primary one).")] = "",
    method: Annotated[list[str], typer.Option("--method", help="Methods to show, as 'mult-*'; repeatable.")] = [],  # noqa: B006
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full.")] = "",
    min_n: Annotated[int, typer.Option("--min-n", help="Rows of at least so many seeds.")] = 1,
    top: Annotated[int | None, typer.Option("--top", help="Rows of each table, 0: all (default: 10 where there are several).")] = None,
    tuned: Annotated[str, typer.Option("--tuned", help="Configurations that a search chose: only, or without.")] = "",
    old: Annotated[bool, typer.Option("--old", help="Boards of earlier versions of tasks too.")] = False,
    shipped: Annotated[bool, typer.Option(help="Also show the reference records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Print leaderboards from records."""
    from elboard.bench.cli.boards import print_boards

    choice = {
        "metrics": tuple(metric),
        "sort": sort,
        "methods": tuple(method),
        "budget": budget,
        "min_n": min_n,
        "tuned": tuned,
        "old": old,
    }
    print_boards(which, format, shipped, out, tuple(path), choice, top)


@app.command()
def compare(
    family: Annotated[str, typer.Argument(help="A family of tasks; all if left out.")] = "",
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full.")] = "lite",
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    shipped: Annotated[bool, typer.Option(help="Also count the reference records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Methods over several tasks: mean rank, win rate, interquartile mean, Elo."""
    from elboard.bench.cli.comparing import print_comparison

    print_comparison(family, budget, json, shipped, out, tuple(path))


@app.command()
def power(
    a: Annotated[str, typer.Argument(help="A method, or a row's name as boards show it.")],
    b: str,
    task: str,
    metric: Annotated[str, typer.Option("--metric", help="Default: the task's primary one.")] = "",
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full.")] = "lite",
    queue: Annotated[Path | None, typer.Option("--queue", help="Write a sweep of the missing seeds to this file.")] = None,
    shipped: Annotated[bool, typer.Option(help="Also count the reference records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """How many more seeds would separate two methods, and what they cost."""
    from elboard.bench.cli.comparing import power_command

    power_command(a, b, task, metric, budget, queue, shipped, out, tuple(path))


@app.command()
def table(
    paper: Annotated[str, typer.Argument(help="A paper's slug or number (`elboard list papers`).")],
    run: Annotated[bool, typer.Option("--run", help="First run what is missing for it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs that are missing, and what they cost.")] = False,
    budget: Annotated[str, typer.Option("--budget", help="smoke, lite or full (default: the paper file's).")] = "",
    format: Annotated[str, typer.Option("--format", help="table, md, latex, json or html.")] = "table",
    shipped: Annotated[bool, typer.Option(help="Also count the reference records that ship with the package.")] = True,
    jobs: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    engine: Annotated[str, typer.Option(help="local, slurm, ray, or one of a plug-in.")] = "local",
    profile: Annotated[str, typer.Option(help="Of slurm.")] = "slurm",
    max_jobs: Annotated[int | None, typer.Option(help="Of slurm.")] = None,
    address: Annotated[str, typer.Option(help="Of ray.")] = "",
    tracker: TrackerName = "none",
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> int:
    """A paper's published numbers beside what is measured here."""
    from elboard.bench.cli.papers import table_command

    how = {"engine": engine, "jobs": jobs, "profile": profile, "max_jobs": max_jobs, "address": address}
    return table_command(paper, run, dry_run, budget, how, tracker, format, shipped, out, tuple(path))


@app.command()
def claims(
    which: Annotated[str, typer.Argument(help="A paper, or a status: holds, refuted, undecided, not-run, not-implemented.")] = "",
    format: Annotated[str, typer.Option("--format", help="table, md or json.")] = "table",
    shipped: Annotated[bool, typer.Option(help="Also count the reference records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Which of the papers' claims hold."""
    from elboard.bench.cli.papers import claims_command

    claims_command(which, format, shipped, out, tuple(path))


@app.command()
def site(
    folder: Annotated[Path, typer.Argument(help="Folder to write; new, empty, or an old site.")] = Path("site"),
    shipped: Annotated[bool, typer.Option(help="Also show the reference records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Write the leaderboard as a static site that works from disk."""
    from elboard.bench.cli.site import site_command

    site_command(folder, out, shipped, tuple(path))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8000,
    shipped: Annotated[bool, typer.Option(help="Also show the reference records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> None:
    """Serve the leaderboard on this machine; it is built again when records change."""
    from elboard.bench.cli.site import serve_command

    serve_command(port, out, shipped, tuple(path))


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A file or folder with methods and tasks.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """Check anybody's methods and tasks: cards, options, runs, checkpoints, evidence, with all that they fit here."""
    from elboard.bench.cli.checking import check_command

    return check_command(path, json)


@app.command()
def verify(
    keys: Annotated[list[str], typer.Argument(help="Keys of runs, or their beginnings; all if left out.")] = [],  # noqa: B006
    rerun: Annotated[bool, typer.Option("--rerun", help="Execute the runs again instead of reading their evidence.")] = False,
    shipped: Annotated[bool, typer.Option(help="Also the records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> int:
    """Compute the metrics of records again, and say which agree."""
    from elboard.bench.cli.verifying import verify_command

    return verify_command(keys, rerun, out, shipped, tuple(path))


@app.command()
def submit(target: Annotated[Path, typer.Argument(help="The file to write (.elboard.zip).")], out: Out = None) -> int:
    """Pack the finished runs into one file for others."""
    from elboard.bench.cli.verifying import submit_command

    return submit_command(out, target)


@app.command()
def review(
    file: Annotated[Path, typer.Argument(help="A submission.")],
    accept: Annotated[bool, typer.Option("--accept", help="Take in the records that pass.")] = False,
    path: Paths = [],  # noqa: B006
) -> int:
    """Check a submission without trusting it."""
    from elboard.bench.cli.verifying import review_command

    return review_command(file, accept, tuple(path))


@app.command()
def backfill(
    metric: Annotated[str, typer.Argument(help="A metric key, as brier.")],
    task: Annotated[str, typer.Argument(help="A task or a family; all if left out.")] = "",
    shipped: Annotated[bool, typer.Option(help="Also the records that ship with the package.")] = True,
    out: Out = None,
    path: Paths = [],  # noqa: B006
) -> int:
    """Compute a metric that was added later from the evidence of old records."""
    from elboard.bench.cli.verifying import backfill_command

    return backfill_command(metric, task, out, shipped, tuple(path))


@app.command()
def why(key: Annotated[str, typer.Argument(help="A run's key, or its beginning.")], out: Out = None) -> None:
    """What a run's key was made of, and what differs from the nearest other run."""
    from elboard.bench.cli.listing import print_why

    print_why(key, out)


@app.command()
def compact(out: Out = None) -> int:
    """Index the records of a folder of runs, so that boards need not read each file."""
    from elboard.bench.cli.store import compact_command

    return compact_command(out)


@app.command()
def archive(keys: Annotated[list[str], typer.Argument(help="Keys of runs that are finished for good.")], out: Out = None) -> int:
    """Move runs into the archive of their folder, whose files are not looked at one by one."""
    from elboard.bench.cli.store import archive_command

    return archive_command(keys, out)


@app.command()
def doctor(out: Out = None) -> None:
    """Versions, devices, data, and what is missing."""
    from elboard.bench.cli.doctor import print_doctor

    print_doctor(out)


@data_app.command("list")
def data_list() -> None:
    """All data sets, their licences, and which are here."""
    from elboard.bench.cli.data import print_data

    print_data()


@data_app.command("fetch")
def data_fetch(names: Annotated[list[str], typer.Argument(help="Data sets, or `all`.")]) -> int:
    """Fetch data sets into the cache."""
    from elboard.bench.cli.data import fetch_data

    return fetch_data(names)


@data_app.command("check")
def data_check(names: Annotated[list[str], typer.Argument(help="Data sets; all that are here if left out.")] = []) -> int:  # noqa: B006
    """Compare the data sets that are here with their checksums."""
    from elboard.bench.cli.data import check_data

    return check_data(names)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if show:
        from elboard import __version__

        print(__version__)
        raise typer.Exit
