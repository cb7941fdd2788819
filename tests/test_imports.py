"""Imports point down; `import addersim` and the torch-free path load what they say and no more."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import addersim

PACKAGE = Path(addersim.__file__).parent
FLOORS = [
    {"errors"},
    {"shelf", "shipped", "broadcast", "ports", "fixed", "primitives", "toml", "tabular", "threads"},
    {"loops", "datapath"},
    {"network"},
    {"kernels", "hardware", "costs"},
    {
        "ops",
        "dataflows",
        "stores",
        "tiling",
        "runs",
        "flows",
        "placement",
        "level_search",
        "elements",
        "quantized",
        "floating",
        "example",
        "images",
        "noise",
    },
    {
        "importer",
        "exported",
        "formats",
        "fuse",
        "gains",
        "grouping",
        "output_error",
        "ranges",
        "choices",
        "integers",
        "correction",
        "quantize",
        "replay",
        "requantise",
        "simulate",
        "counts",
        "activity",
    },
    {"bill"},
    {"charges"},
    {"topology", "scratchpads", "traffic", "residency", "latency", "arithmetic", "area"},
    {"validate", "dump", "evaluate", "accumulators", "widths"},
    {"totals"},
    {"compare", "arrays", "machines", "study"},
    {"tornado"},
    {"outcome"},
    {"figures"},
    {"explore", "report", "listing", "rtl"},
    {"terminal"},
    {"options", "exploring"},
    {"cli", "__main__"},
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
SIDE = {"nn", "train"}  # they stand beside; what they may import is listed here
SIDE_MAY = {"errors", "shipped", "fixed", "kernels", "network", "toml", "nn", "train"}
BORROWED = {
    ("importer", "nn"),
    ("exported", "nn"),
    ("outcome", "nn"),
    ("study", "nn"),
    ("listing", "nn"),
    ("cli", "train"),
    *(
        ("train", name)
        for name in ("choices", "fuse", "grouping", "importer", "ops", "quantize", "quantized", "requantise")
    ),
    ("train", "simulate"),  # training on integers runs what the simulator runs
    ("train", "study"),  # a recipe's quantization has the keys of a study's
    ("train", "report"),  # the look of its figure, loaded late
}


def imported(file: Path) -> set[str]:
    """Return the modules of the package that a file imports, but for type checking."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("addersim"):
            names += (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "addersim" else [node.module]
            )
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("addersim.")]
    return {name.split(".")[1] for name in names}


def files() -> list[Path]:
    return sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imported(file) - {own}:
        if own in SIDE:
            assert other in SIDE_MAY or (own, other) in BORROWED, f"{own} must not import {other}"
        elif other in SIDE:
            assert (own, other) in BORROWED, f"{own} must not import {other}"
        else:
            assert FLOOR[other] <= FLOOR[own], f"{own} must not import {other}"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_addersim_is_light():
    code = "import sys, addersim; print({'torch', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules))"
    assert run(code).strip() == "set()"


def test_public_names_are_there_and_stay_functions():
    code = (
        "import addersim, addersim.activity, addersim.simulate, addersim.evaluate, addersim.compare\n"
        "assert all(callable(getattr(addersim, n)) for n in addersim.__all__ if n != 'load_checkpoint')\n"
        "print(addersim.simulate.__name__)"
    )
    assert run(code).strip() == "simulate"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        addersim.nonsense  # noqa: B018


def test_simulate_and_sweep_without_torch(tmp_path):
    """With torch made impossible to import, a saved network is simulated and swept."""
    addersim.example_network().save(tmp_path / "net.safetensors")
    (tmp_path / "study.toml").write_text('[network]\nfile = "net.safetensors"\n[data]\nlimit = 8\n')
    code = f"""
import sys
sys.modules["torch"] = None
import addersim
from addersim.outcome import run
study = addersim.Study.read({str(tmp_path / "study.toml")!r})
outcome = run(study)
rows = addersim.sweep(study, {{"hardware.rows": [8, 16]}}, pool="local:1")
print(outcome.images, len(rows))
"""
    assert run(code).strip() == "8 2"
