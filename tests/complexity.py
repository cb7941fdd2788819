"""Fails where a function of the package decides too much or is too long; `make lint` runs it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from radon.complexity import cc_visit

PACKAGE = Path(__file__).parent.parent / "addersim"
MOST_COMPLEX, MOST_LINES = 15, 30  # McCabe's number; lines of a function without its docstring


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, with its signature and without its docstring."""
    end, first = function.end_lineno or function.lineno, function.body[0]
    said = ast.get_docstring(function) is not None
    return end - function.lineno + 1 - ((first.end_lineno or 0) - first.lineno + 1 if said else 0)


def complaints(file: Path) -> list[str]:
    """Return a line per function that is too complex or too long."""
    source, where = file.read_text(encoding="utf-8"), file.relative_to(PACKAGE.parent)
    found = [
        f"{where}:{block.lineno}: {block.name} has complexity {block.complexity}, expected {MOST_COMPLEX} or less"
        for block in cc_visit(source)
        if block.letter != "C" and block.complexity > MOST_COMPLEX
    ]
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return found + [
        f"{where}:{node.lineno}: {node.name} has {lines(node)} lines, expected {MOST_LINES} or fewer"
        for node in functions
        if lines(node) > MOST_LINES
    ]


if __name__ == "__main__":
    every = [line for file in sorted(PACKAGE.rglob("*.py")) for line in complaints(file)]
    print("\n".join(every) or "no function of addersim is too complex or too long")
    sys.exit(bool(every))
