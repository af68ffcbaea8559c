"""
The command line: one thin command for each thing people do.

What a command needs is imported when it runs: most need neither torch nor onnxruntime, and all should start fast.
"""

# ruff: noqa: PLC0415 - see above

import datetime
import json
from pathlib import Path
from typing import Any, TextIO

import click

from models.errors import NextdayError

WRONG_INPUT, STOPPED = 2, 130
EXIT_CODES = {
    0: "done",
    1: "it failed, as where the service is away or a job fails",
    WRONG_INPUT: "the input, an option or a setting is wrong",
    3: "scored, but some rows have an error",
    STOPPED: "stopped by Ctrl-C",
}


class Commands(click.Group):
    """Commands whose errors are one line, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes its message and an exit code."""
        try:
            return super().invoke(ctx)
        except NextdayError as error:
            click.echo(f"nextday: {error}", err=True)
            ctx.exit(getattr(error, "exit_code", WRONG_INPUT))
        except KeyboardInterrupt:
            ctx.exit(STOPPED)


def _missing(who: str, error: ModuleNotFoundError) -> click.ClickException:
    """What to install for a command that needs torch."""
    how = "`make train` installs it, or `pip install -e '.[train]'` in the clone"
    return click.ClickException(f"{who} {error.name}; {how}")


def _models_beginning(start: str) -> list[str]:
    """Models of this environment's store that begin so; none where it cannot be read, for a shell shows no errors."""
    from models.listing import beginning
    from models.settings import ModelSettings, from_env

    try:
        return beginning(from_env(ModelSettings).store, start)
    except (NextdayError, OSError):
        return []


def _complete_model(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return _models_beginning(incomplete)


def _complete_name(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [each for each in _models_beginning(incomplete) if ":" not in each]


def _complete_version(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    start = f"{ctx.params.get('model') or 'lstm'}:"
    return [each.removeprefix(start) for each in _models_beginning(start + incomplete)]


def _echo_json(answer: object) -> None:
    """Print JSON for programs: the one thing on standard output."""
    click.echo(json.dumps(answer, indent=2))


SAID_OF_CODES = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."


@click.group(cls=Commands, context_settings={"max_content_width": 100}, epilog=SAID_OF_CODES)
@click.version_option(package_name="nextday", message="%(version)s")
def main() -> None:
    """What will this price do tomorrow, and how sure are we? Next-day quantile forecasts over HTTP and in bulk."""


@main.command()
@click.option("--var", type=click.Path(file_okay=False, path_type=Path), default=Path("var"), show_default=True,
              help="Folder for the queue, the jobs and the logs.")  # fmt: skip
@click.option("--schedule", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Run `nextday schedule FILE`, too.")  # fmt: skip
@click.pass_context
def up(ctx: click.Context, var: Path, schedule: Path | None) -> None:
    """Run everything: the queue, a worker and the service. Ctrl-C stops it; NEXTDAY_PORT moves it."""
    from service.up import up as run

    ctx.exit(run(var, schedule=schedule))


@main.command()
def serve() -> None:
    """Answer HTTP, set up by NEXTDAY_* variables."""
    from models.settings import from_env
    from service.serve import serve as run
    from service.settings import ServiceSettings

    run(from_env(ServiceSettings))


@main.command()
@click.option("--check", is_flag=True, help="Only say, by the exit code, whether this machine's worker is alive.")
@click.pass_context
def work(ctx: click.Context, *, check: bool) -> None:
    """Become a Celery worker that scores jobs, set up by NEXTDAY_* variables."""
    from models.settings import from_env
    from worker.settings import WorkerSettings
    from worker.work import is_alive
    from worker.work import work as run

    settings = from_env(WorkerSettings)
    if check:
        ctx.exit(0 if is_alive(settings) else 1)
    run(settings)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, metavar="OUT",
              help="Where the forecasts go: .csv, .ndjson, .parquet, .arrow or .arrows; `-` is standard output, "
                   "as CSV.")  # fmt: skip
@click.option("--url", help="The service.  [default: http://127.0.0.1:8000, or as NEXTDAY_HOST and NEXTDAY_PORT say]")
@click.option("--model", help="Name of the model.  [default: lstm]", shell_complete=_complete_name)
@click.option("--version", type=click.IntRange(min=1), help="Version of the model.  [default: the newest]",
              shell_complete=_complete_version)  # fmt: skip
@click.option("--levels", metavar="L,L,...", help="Quantile levels, as in 0.05,0.5,0.95.  [default: all]")
@click.option("--join", metavar="NAME,NAME,...", help="Columns of FILE that the results have, too.")
@click.option("--webhook", metavar="URL", help="Who is to be told when the job has ended.")
@click.option("--detach", is_flag=True, help="Submit only; the job is printed and goes on by itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as it ended, as JSON, on standard output.")
def score(*, file: Path, output: str, url: str | None, detach: bool, as_json: bool,
          **options: str | int | None) -> None:  # fmt: skip
    """
    Forecast every series of FILE as a bulk job of a running service.

    FILE is .csv, .ndjson, .json, .parquet, .arrow or .arrows, and may be packed: .csv.gz, .ndjson.zst.
    OUT gets one row a series, in the order of FILE. Rows with an error go beside it: out.csv has out.errors.csv.
    The same file and options within a week give the same job again. Ctrl-C cancels the job.
    """
    from service.score import score_file

    code = score_file(file, output, url=url, options=options, detach=detach, as_json=as_json)
    click.get_current_context().exit(code)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="Submit what is due now, and end: for cron.")
@click.option("--dry-run", "dry", is_flag=True, help="Submit nothing; print what would be, and what comes next.")
@click.option("--json", "as_json", is_flag=True, help="Print that as JSON.")
@click.pass_context
def schedule(ctx: click.Context, file: Path, *, once: bool, dry: bool, as_json: bool) -> None:
    """Submit jobs after each close of an exchange, as FILE (TOML) says, each exactly once."""
    from models.settings import from_env
    from worker.settings import WorkerSettings
    from worker.timetable import run

    if once and dry:
        raise click.UsageError("--once and --dry-run exclude each other")
    if as_json and not dry:
        raise click.UsageError("--json prints what --dry-run finds; add that")
    try:
        ctx.exit(run(file, from_env(WorkerSettings), once=once, dry=dry, as_json=as_json, show=click.echo))
    except ModuleNotFoundError as error:
        message = f"schedules need {error.name}; `pip install -e '.[schedule]'` in the clone installs it"
        raise click.ClickException(message) from error


@main.command()
@click.argument("source")
@click.option("--model", default="lstm", show_default=True, metavar="NAME[:VERSION]", help="Which one forecasts.",
              shell_complete=_complete_model)  # fmt: skip
@click.option("--horizon", type=click.IntRange(1, 20), default=1, show_default=True, help="Days ahead.")
@click.option("--paths", type=click.IntRange(100, 100_000), default=1000, show_default=True,
              help="Drawn for the days after the first.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the paths.")
@click.option(
    "--conformal", is_flag=True, help="Correct the next day's quantiles by how often the past fell under them."
)
@click.option("--explain", is_flag=True, help="Tell what an LSTM kept, added and showed on each day, too.")
@click.option("--unit", type=click.IntRange(0), help="Which of its units to tell of.  [default: the mean over all]")
@click.option("--plot/--no-plot", default=None, help="Draw closes and fans under the table.  [default: on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all nine quantiles.")
def forecast(*, as_json: bool, plot: bool | None, **options: Any) -> None:
    """Forecast the next closes of SOURCE, `sp500` or a file of daily closes, here and now, without a service."""
    from models.outlook import Asked, run
    from models.settings import ModelSettings, from_env

    if as_json and plot:
        raise click.UsageError("--json and --plot exclude each other")
    run(Asked(store=from_env(ModelSettings).store, **options), as_json=as_json, plot=plot)


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def train(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Train a network and export it as a new version; `nextday train --help` says how."""
    try:
        from models.train import train as run
    except ModuleNotFoundError as error:
        raise _missing("training needs", error) from error
    code = run.main(list(arguments), prog_name="nextday train", standalone_mode=False)
    ctx.exit(code if isinstance(code, int) else 0)


@main.command()
@click.option(
    "--model",
    "wanted_models",
    multiple=True,
    metavar="NAME[:VERSION]",
    help="May be given several times.  [default: all]",
    shell_complete=_complete_model,
)
@click.option(
    "--market", "markets", multiple=True, help="us-stocks or others; several times for both.  [default: both]"
)
@click.option(
    "--data",
    "sources",
    multiple=True,
    metavar="NAME|FILE",
    help="Prices of your own, as `nextday train` takes them, instead of or beside a market.",
)
@click.option(
    "--from",
    "first",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2016-01-01",
    show_default=True,
    help="The first day that is forecast.",
)
@click.option(
    "--to", "stop", type=click.DateTime(["%Y-%m-%d"]), default="9999-01-01", help="The day after the last one."
)
@click.option("--history", "last_days", type=click.IntRange(2), metavar="CLOSES",
              help="Closes that a model may see; the baselines see all.  [default: all]")  # fmt: skip
@click.option("--horizon", type=click.IntRange(1, 20), default=1, show_default=True, help="Days ahead.")
@click.option(
    "--conformal", is_flag=True, help="Each model a second time, its quantiles corrected by what came before."
)
@click.option("--jobs", type=click.IntRange(1), help="Processes for the baselines.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Folder for a page of charts a market.")
def evaluate(*, wanted_models: tuple[str, ...], markets: tuple[str, ...], sources: tuple[str, ...],
             first: datetime.datetime, stop: datetime.datetime, plots: Path | None, as_json: bool,
             **options: Any) -> None:  # fmt: skip
    """Score models and baselines, walking forward one day at a time: how good are the forecasts?"""
    import numpy as np

    from models.packaged import MARKETS
    from models.record import run

    options |= {
        "models": wanted_models,
        "markets": markets or (() if sources else tuple(MARKETS)),
        "sources": sources,
        "span": (np.datetime64(first, "D"), np.datetime64(stop, "D")),
    }
    run({name: value for name, value in options.items() if value is not None}, as_json=as_json, plots=plots)


@main.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Of each training.")
@click.option(
    "--from",
    "first",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2013-01-01",
    show_default=True,
    help="The first day that is forecast.",
)
@click.option(
    "--to",
    "stop",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2016-01-01",
    show_default=True,
    help="The day after the last one; from 2016 on are the days that the models that ship are tested on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Folder for a page of charts.")
def family(seed: int, first: datetime.datetime, stop: datetime.datetime, plots: Path | None, *, as_json: bool) -> None:
    """Train LSTM, RNN and MLPs side by side: what do the feedback loop and the gates buy? Takes minutes."""
    import numpy as np

    try:
        from models.family import FamilyConfig, run
    except ModuleNotFoundError as error:
        raise _missing("the family needs", error) from error
    span = (np.datetime64(first, "D"), np.datetime64(stop, "D"))
    run(FamilyConfig(seed=seed, span=span), as_json=as_json, plots=plots)


@main.command()
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, paths and sequences.")
@click.option("--quick", is_flag=True, help="Small sizes, to see that it works; its numbers show little.")
@click.option("--network-free", is_flag=True, help="Leave out the networks that forecast, and so their training.")
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Folder for a page of charts.")
def gradients(seed: int, plots: Path | None, *, quick: bool, network_free: bool, as_json: bool) -> None:
    """Measure how gradients vanish and explode over time, in an RNN and an LSTM. Takes minutes."""
    try:
        from models.gradients import GradientConfig, run
    except ModuleNotFoundError as error:
        raise _missing("gradients need", error) from error
    run(GradientConfig.of(seed, quick=quick, network_free=network_free), as_json=as_json, plots=plots)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every score.")
def models(*, as_json: bool) -> None:
    """List the models: versions, networks, sizes and scores."""
    from models.listing import described, listing
    from models.settings import ModelSettings, from_env

    store = from_env(ModelSettings).store
    if as_json:
        _echo_json(described(store))
    else:
        click.echo(listing(store))


KEY_FILE = click.option("--file", "path", type=click.Path(dir_okay=False, path_type=Path),
                        help="The file of keys.  [default: as NEXTDAY_API_KEYS_FILE says]")  # fmt: skip


@main.group()
def keys() -> None:
    """Make, list and revoke the API keys that the service lets in."""


@keys.command("new")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(["forecast", "jobs", "admin"]),
              help="What the key opens; may be given several times.")  # fmt: skip
@click.option("--rate", "rate_per_s", type=click.FloatRange(min=0), metavar="N",
              help="Requests a second; 0 for any number.  [default: as NEXTDAY_RATE_PER_S says]")  # fmt: skip
@KEY_FILE
def new_key(name: str, scopes: tuple[str, ...], rate_per_s: float | None, path: Path | None) -> None:
    """Make an API key for NAME. It is printed this once, alone on standard output; the file gets its hash."""
    from service.key_file import add, chosen
    from service.keys import make

    path = path or chosen()
    secret, key = make(name, scopes, rate_per_s)
    if path:
        add(path, key)
    click.echo(f"{path} has the key {key.id} of {key.name}:" if path else f"{key.line}\nbelongs to the key:", err=True)
    click.echo(secret)


@keys.command("list")
@KEY_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(path: Path | None, *, as_json: bool) -> None:
    """List the API keys: ids, names, scopes and limits, never the keys."""
    from service.key_file import described, needed, table

    path = needed(path)
    if as_json:
        _echo_json({"keys": described(path)})
    else:
        click.echo(table(path))


@keys.command()
@click.argument("key_id", metavar="ID")
@KEY_FILE
def revoke(key_id: str, path: Path | None) -> None:
    """Revoke the API key with the id ID: within about a second it opens nothing any more."""
    from service.key_file import needed, remove

    key = remove(needed(path), key_id)
    click.echo(f"revoked: {key.id} {key.name}", err=True)


@main.command()
@click.argument("model", metavar="NAME[:VERSION]", shell_complete=_complete_model)
@click.option("--url", help="The service.  [default: http://127.0.0.1:8000, or as NEXTDAY_HOST and NEXTDAY_PORT say]")
@click.option("--json", "as_json", is_flag=True, help="Print what serves now as JSON.")
def activate(model: str, url: str | None, *, as_json: bool) -> None:
    """Let a version of a model serve in a running service; NAME alone follows the newest again."""
    from service.activate import activate as run
    from service.activate import line

    serving = run(model, url=url)
    if as_json:
        _echo_json(serving)
    else:
        click.echo(line(serving))


@main.command()
@click.argument("source")
@click.option("--days", type=click.IntRange(min=1), default=250, show_default=True, help="Closes of each series.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day.  [default: each series' own]")
@click.option("-o", "--output", type=click.File("w", encoding="utf-8", atomic=True), default="-",
              help="Where the CSV goes.  [default: standard output]")  # fmt: skip
def prices(source: str, days: int, until: datetime.datetime | None, output: TextIO) -> None:
    """Write daily closes as CSV (id,date,close): of SOURCE, `sp500` for the packaged stocks, or a file."""
    from models.data import last_days, load, write_csv

    write_csv(last_days(load(source).panel, days, until.date() if until else None), output)


if __name__ == "__main__":
    main()
