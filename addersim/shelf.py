"""Shelf: name -> thing, filled by importing a package once; plug-ins come by entry point."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

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

    def __init__(self, noun: str, package: str | None = None, group: str = "") -> None:
        self._group = group
        self._noun = noun
        self._package = package
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Put ``thing`` on the shelf and return it; a second thing of the same name is an error."""
        if name in self._things:
            raise ValueError(f"two {self._noun}s are called {name!r}")
        self._things[name] = thing
        return thing

    def _fill(self) -> dict[str, T]:
        package, self._package = self._package, None
        if package is not None:
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
