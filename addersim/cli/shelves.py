"""The command that shows what is on the shelves."""

from __future__ import annotations

from typing import Annotated

import typer

from addersim.cli.options import Json, Plugins, print_json


def list_(
    shelf: Annotated[
        str | None,
        typer.Argument(metavar="[SHELF]", help="costs, hardware, dataflows, ops, models, studies or recipes."),
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one in full.")] = None,
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Show the shelves, or what is on them.

    Without SHELF the shelves, without NAME what is on one and its source, else one thing in full.
    """
    from addersim.cli.listing import SHELVES, entries, entry, shelves
    from addersim.cli.terminal import print_entries, print_entry

    if shelf is not None and name is not None:
        full = entry(shelf, name)
        print_json(full) if json_ else print_entry(full)
        return
    found = shelves() if shelf is None else entries(shelf)
    if json_:
        print_json(found)
    else:
        print_entries(found, "addersim list SHELF [NAME]" if shelf is None else f"{shelf}: {SHELVES[shelf]}")
