"""Docstrings: everything public has one, and every reference in one leads to something."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import addersim

PACKAGE = Path(addersim.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
REFERENCE = re.compile(r":(?:func|class|meth|mod|data|attr):`~?([\w.]+)`")


def resolved(name: str, module: str) -> object:
    """Return what a reference in a module's docstrings names: a full name, one of the module, or one of its classes."""
    for prefix in ("", f"{module}."):
        parts = (prefix + name).split(".")
        for end in range(len(parts), 0, -1):
            try:
                found: object = importlib.import_module(".".join(parts[:end]))
            except ImportError:
                continue
            for part in parts[end:]:
                fields = getattr(found, "__dataclass_fields__", {}) | getattr(found, "model_fields", {})
                found = fields[part] if part in fields else getattr(found, part)
            return found
    raise AttributeError(name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_references_lead_somewhere(file):
    module = ".".join(("addersim", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    names = set(REFERENCE.findall(file.read_text(encoding="utf-8")))
    lost = []
    for name in sorted(names):
        try:
            resolved(name, module)
        except AttributeError:
            lost.append(name)
    own = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
    assert [name for name in lost if name.rpartition(".")[2] not in own] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_everything_public_says_what_it_is(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    things: list[ast.AST] = [tree, *(node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))]
    public = [node for node in things if not getattr(node, "name", "").startswith("_")]
    assert [getattr(node, "name", file.name) for node in public if not ast.get_docstring(node)] == []
