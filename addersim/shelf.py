"""Shelf: name -> thing, filled by importing a package once; plug-ins come by entry point or as a file.

Also :func:`lazy`, by which a package's own names are there without being imported.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from addersim.errors import InputError, nearest

T = TypeVar("T")


class Shelf(Generic[T], Mapping[str, T]):
    """A read-only mapping of names to things of one sort.

    Parameters
    ----------
    noun
        What one thing is called in messages, such as ``"dataflow"``.
    package
        Package whose modules put their things here when imported. It is imported at the first look-up.
    group
        Entry point group under which plug-ins announce things for this shelf; they are loaded at that time, too.

    Examples
    --------
    >>> colours = Shelf[int]("colour")
    >>> colours.add("red", 1)
    1
    >>> colours["red"]
    1
    """

    every: ClassVar[list[Shelf[Any]]] = []

    def __init__(self, noun: str, package: str | None = None, group: str = "") -> None:
        self._noun = noun
        self._package = package
        self._group = group
        self._things: dict[str, T] = {}
        Shelf.every.append(self)

    def add(self, name: str, thing: T) -> T:
        """Put ``thing`` on the shelf and return it; a second thing of the same name is an error."""
        if name in self._things:
            raise ValueError(f"two {self._noun}s are called {name!r}")
        self._things[name] = thing
        return thing

    def replace(self, things: Mapping[str, T]) -> None:
        """Let the shelf hold ``things`` and nothing else, such as what it held before."""
        self._things = dict(things)

    def _fill(self) -> dict[str, T]:
        package, self._package = self._package, None
        if package is not None:
            from importlib.metadata import entry_points

            module = importlib.import_module(package)
            for info in sorted(pkgutil.iter_modules(module.__path__), key=lambda info: info.name):
                importlib.import_module(f"{package}.{info.name}")
            for point in entry_points(group=self._group):
                point.load()
        return self._things

    def __getitem__(self, name: str) -> T:
        things = self._fill()
        if name not in things:
            raise InputError(f"unknown {self._noun} {name!r}{nearest(name, things)}")
        return things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._fill()))

    def __len__(self) -> int:
        return len(self._fill())


HOMES = ("network.ops", "mapping.dataflows", "costs", "hardware")  # of the shelves that plug-ins may fill
PLUGINS: dict[str, str] = {}  # SHA-256 of every file that was loaded -> its path


def load_plugin(path: str | os.PathLike[str]) -> None:
    """Run a Python file that puts operations, dataflows, cost tables or machines on their shelves.

    What was loaded before, by its content, is not run again. Nothing stays on a shelf if the file fails.

    Raises
    ------
    InputError
        If the file cannot be read, or ends with an error.

    Examples
    --------
    >>> import addersim, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "slow.py"
    >>> _ = file.write_text("from addersim.mapping.dataflows import DATAFLOWS\\n"
    ...     "DATAFLOWS.add('slow', DATAFLOWS['output_stationary'])\\n")
    >>> addersim.load_plugin(file)
    >>> qnet = addersim.QuantizedNetwork.load("lenet5_adder-mnist-8bit").on("adder_16x16")
    >>> addersim.evaluate(qnet, dataflow="slow").cycles == addersim.evaluate(qnet).cycles
    True
    """
    file = Path(path).absolute()
    try:
        source = file.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    content = hashlib.sha256(source).hexdigest()
    if content in PLUGINS:
        return
    for home in HOMES:  # full shelves first: a name that clashes does so in the plug-in, not at a later look-up
        importlib.import_module(f"addersim.{home}")
    name = f"addersim_plugin_{content[:16]}"
    before, loaded = [(shelf, dict(shelf)) for shelf in Shelf.every], dict(PLUGINS)
    try:
        _run(source, file, name)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        for shelf, things in before:
            shelf.replace(things)
        PLUGINS.clear()
        PLUGINS.update(loaded)
        raise InputError(
            f"{path}: the plug-in ends with {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    PLUGINS[content] = str(file)


def _run(source: bytes, file: Path, name: str) -> None:
    """Execute the bytes that were hashed; an import would trust a cached compilation of other ones."""
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses look for the module of a class there
    exec(compile(source, file, "exec", dont_inherit=True), vars(module))


def lazy(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names are imported when they are first used.

    Parameters
    ----------
    names
        Module in the package to the names it holds, separated by blanks; ``""`` to modules that are to be listed.
        Modules that are not listed are found all the same.
    """
    homes = {name: module for module, held in names.items() for name in held.split()}

    def look_up(name: str) -> Any:
        if not homes.get(name):
            if not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)  # the next use costs nothing
        return found

    return look_up, lambda: sorted(homes)
