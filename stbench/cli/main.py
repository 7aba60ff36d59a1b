"""Entry point: commands, and how errors end."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stbench.cli import (
    ablate,
    cache,
    cell,
    claims,
    compare,
    curse,
    datasets,
    encode,
    export,
    fit,
    leaderboard,
    methods,
    metrics,
    plot,
    predict,
    prior,
    report,
    rescore,
    run,
    submit,
    sweep,
    tune,
)
from stbench.cli.asks import Grouped
from stbench.cli.console import complain
from stbench.errors import StbenchError, UserError
from stbench.files import FULL
from stbench.process import ending_as_interrupted, settle
from stbench.text import first_line

PROGRAM = "stbench"
DEBUG = "--debug"
INTERRUPTED = 130
USER_ERROR = 2
_UsageError: Any = typer.BadParameter.__mro__[1]  # typer exports no parent of its usage errors

app = typer.Typer(
    name=PROGRAM,
    help="Predict spatial gene expression from H&E slides, and compare methods fairly.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", cls=Grouped)(run.run)
app.add_typer(methods.app, name="methods")
app.add_typer(datasets.app, name="datasets")
app.add_typer(metrics.app, name="metrics")
app.add_typer(cache.app, name="cache")
app.command("leaderboard", cls=Grouped)(leaderboard.leaderboard)
app.command("rescore", cls=Grouped)(rescore.rescore)
app.command("submit", cls=Grouped)(submit.submit)
app.command("export", cls=Grouped)(export.export)
app.command("plot", cls=Grouped)(plot.plot)
app.command("report", cls=Grouped)(report.report)
app.command("fit", cls=Grouped)(fit.fit)
app.command("predict", cls=Grouped)(predict.predict)
app.command("compare", cls=Grouped)(compare.compare)
app.command("sweep-genes", cls=Grouped)(sweep.sweep_genes)
app.command("ablate", cls=Grouped)(ablate.ablate)
app.command("claims", cls=Grouped)(claims.claims)
app.command("tune", cls=Grouped)(tune.tune)
app.command("cell", cls=Grouped)(cell.cell)
app.command("curse", cls=Grouped)(curse.curse)
app.command("encode", cls=Grouped)(encode.encode)
app.command("prior", cls=Grouped)(prior.prior)


def _show_version(wanted: bool) -> None:
    if wanted:
        from stbench import __version__

        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def stbench(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error (anywhere on the line).")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words behind the program's name, those of the process when None.

    Returns:
        Exit code: 0 done, 1 something asked for failed, 2 the user can mend it, 130 interrupted or ended by SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    settle()
    try:
        with ending_as_interrupted():
            code = app([word for word in words if word != DEBUG], prog_name=PROGRAM, standalone_mode=False)
            sys.stdout.flush()
    except _UsageError as error:
        if debug:
            raise
        return _fail(str(error.format_message()), USER_ERROR)
    except StbenchError as error:
        if debug:
            raise
        return _fail(str(error), USER_ERROR if isinstance(error, UserError) else 1)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout, a pager or head, has seen enough
        _let_go_of_stdout()
        return 0
    except OSError as error:
        if debug:
            raise
        _let_go_of_stdout()
        return _fail(f"{first_line(error)}; {_next(error)}", USER_ERROR)
    except (UnicodeError, RecursionError, MemoryError) as error:
        if debug:
            raise
        return _fail(f"{type(error).__name__}: {first_line(error)}; see where with {DEBUG}", USER_ERROR)
    return int(code or 0)


def program() -> int:
    """The command line as a process of its own; returns its exit code as :func:`main` does.

    Python looks for circles among all objects once more before it ends, which took 0.2 s; the system frees them anyway.
    """
    code = main()
    gc.freeze()
    return code


def _let_go_of_stdout() -> None:
    """Drop what it cannot take, or flushing at exit would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _next(error: OSError) -> str:
    if error.errno in FULL:
        return "free some space, then repeat the command: it continues"
    return f"mend what it names, or repeat the command with {DEBUG} to see where it happened"


def _fail(reason: str, code: int) -> int:
    complain(f"{PROGRAM}: error: {' '.join(reason.split())}")
    return code
