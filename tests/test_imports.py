"""Imports point down; `import addersim` and the torch-free path load what they say and no more."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import addersim

PACKAGE = Path(addersim.__file__).parent
FLOORS = (  # the rooms from the ground up: a room imports itself and what stands before it
    *("errors", "version", "tabular", "toml", "shelf", "files", "weights"),
    *("arithmetic", "kernels", "nn", "hardware", "network", "quantization", "mapping", "simulation", "costs", "study"),
    *("interchange", "rtl", "report", "train", "cli"),
    *("__main__", "machines", "topology"),
)


def imported(file: Path) -> set[str]:
    """Return the dotted names that a file imports from the package, but for type checking."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in skipped:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import) and id(node) not in skipped:
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "addersim"}


FILES = sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    own = FLOORS.index(file.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    above = {name for name in imported(file) if "." not in name or FLOORS.index(name.split(".")[1]) > own}
    assert not above


def test_no_import_runs_in_a_circle():
    """Importing a module runs the packages it lies in first, so that these count as imported, too."""
    modules = {".".join(("addersim", *f.relative_to(PACKAGE).with_suffix("").parts)): f for f in FILES}
    modules = {name.removesuffix(".__init__"): file for name, file in modules.items()}
    graph = {}
    for module, file in modules.items():
        prefixes = {tuple(name.split(".")[:n]) for name in imported(file) for n in range(2, name.count(".") + 2)}
        found = {".".join(prefix) for prefix in prefixes} & set(modules)
        graph[module] = {name for name in found if not f"{module}.".startswith(f"{name}.")}
    order = [*TopologicalSorter(graph).static_order()]  # raises CycleError with the circle
    assert sorted(order) == sorted(modules)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_addersim_is_light():
    code = "import sys, addersim; print({'torch', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules))"
    assert run(code).strip() == "set()"


DOCUMENTED = [
    "hardware.load_hardware",
    "costs.load_table",
    "kernels.reference.layer",
    "kernels.native.layer",
    "interchange.scalesim.read_topology",
    "machines.evaluate_machines",
    "topology.read_topology",
    "nn.AdderConv2d",
    "nn.functional.adder_conv2d",
    "rtl.parameters",
    "train.read_recipe",
    "train.qat.IntegerModule",
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_name_is_there_after_a_plain_import(name):
    assert run(f"import addersim; print(callable(addersim.{name}))") == "True\n"


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("addersim", {"hardware", "nn", "train", "quantize", "evaluate_machines", "load_plugin"}),
        ("addersim.costs", {"COSTS", "load_table"}),
        ("addersim.hardware", {"HARDWARE", "load_hardware"}),
        ("addersim.interchange", {"golden_vectors", "scalesim"}),
        ("addersim.kernels", {"native", "reference"}),
        ("addersim.nn", {"AdderConv2d", "convert", "load_checkpoint"}),
        ("addersim.rtl", {"parameters", "source"}),
        ("addersim.train", {"Recipe", "qat", "read_recipe", "train"}),
    ],
)
def test_dir_lists_what_a_package_has(package, names):
    found = set(run(f"import {package} as package; print(*dir(package))").split())
    assert names <= found and "lazy" not in found


def test_public_names_are_there_and_stay_functions():
    code = (
        "import addersim, addersim.machines, addersim.topology, addersim.simulation.simulate, addersim.costs.evaluate\n"
        "found = {name: getattr(addersim, name) for name in dir(addersim)}\n"
        "assert all(callable(it) or it.__name__ == f'addersim.{name}' for name, it in found.items())\n"
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
from addersim.study.outcome import run
study = addersim.Study.read({str(tmp_path / "study.toml")!r})
outcome = run(study)
rows = addersim.sweep(study, {{"hardware.rows": [8, 16]}}, pool="local:1")
print(outcome.images, len(rows))
"""
    assert run(code).strip() == "8 2"
