"""The command line as a whole: its commands, its version, and how a command ends on bad input."""

from __future__ import annotations

from typing import Annotated

import typer

from addersim.cli.explore import search, sweep, widths
from addersim.cli.options import fail
from addersim.cli.shelves import list_
from addersim.cli.study import compare, demo, report, simulate
from addersim.cli.train import train
from addersim.errors import InputError
from addersim.version import VERSION

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXTRAS = {  # packages that are not always there, and what brings them
    "torch": "torch",
    "pooch": "data",
    "PIL": "data",
    "pyarrow": "explore",
    "optuna": "explore",
    "distributed": "cluster",
}


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Simulate, price and compare adder networks, bit for bit as hardware would compute them."""
    if version:
        print(f"addersim {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


for _command in (demo, train, simulate, compare, report, sweep, search, widths):
    app.command()(_command)
app.command("list")(list_)


def main() -> None:
    """Entry point of the command ``addersim``."""
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        fail(f"this needs {error.name}, which is not installed: pip install 'addersim[{EXTRAS[error.name]}]'")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # anything but a usage error is our own mistake
            raise
        fail(error.format_message())
    raise SystemExit(code if isinstance(code, int) else 0)
