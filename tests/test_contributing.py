"""The examples of CONTRIBUTING.md run: from outside the package, as a package of their own, and from inside."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import addersim
from addersim.errors import InputError
from addersim.mapping.dataflows import DATAFLOWS
from addersim.shelf import PLUGINS, load_plugin

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="tests an installed package, without its repository")
TEXT = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
FILES = dict(re.findall(r"```(?:python|toml) (\S+)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"^addersim .*$", TEXT, re.MULTILINE)
SHELVES = {
    "shuffle.py": "network/ops",
    "one_element.py": "mapping/dataflows",
    "mine_22nm.toml": "costs/tables",
    "narrow.toml": "hardware/machines",
}


def run(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run Python in a fresh process and return what it printed."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder with the files of the page."""
    folder = tmp_path_factory.mktemp("outside")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_page_has_an_example_of_each_shelf():
    assert set(SHELVES) | {"study.toml", "use_shuffle.py"} == set(FILES) and len(COMMANDS) == 6


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_from_outside(outside, command):
    said = run("-m", "addersim", *shlex.split(command)[1:], cwd=outside)
    assert said.strip()


def test_an_operation_from_outside_goes_through_everything(outside):
    said = run("use_shuffle.py", cwd=outside)
    assert "top class agrees on" in said and (outside / "shuffled.safetensors").is_file()
    command = ["-m", "addersim", "simulate", "study.toml", "--plugin", "shuffle.py", "--json"]
    printed = run(*command, "--set", "network.file=shuffled.safetensors", cwd=outside)
    assert "channel_shuffle" in printed


def test_a_sweep_s_folder_remembers_what_the_plug_in_held(outside, tmp_path):
    study = """[network]
file = "lenet5_adder-mnist-8bit"
[data]
limit = 4
[space]
"evaluation.dataflow" = ["one_element", "output_stationary"]
"hardware.rows" = [8, 16]
"""
    (tmp_path / "study.toml").write_text(study)
    plugin = str(outside / "one_element.py")
    command = ["-m", "addersim", "sweep", "study.toml", "--plugin", plugin, "--json", "--out", "points"]
    rows = json.loads(run(*command, cwd=tmp_path))
    ours = {row["cycles"] for row in rows if row["evaluation.dataflow"] == "one_element"}
    assert len(rows) == 4 and len(ours) == 1
    (tmp_path / "changed.py").write_text(FILES["one_element.py"].replace("= loops.taps\n", "= 2 * loops.taps\n"))
    command[command.index(plugin)] = "changed.py"
    with pytest.raises(AssertionError, match=r"holds the results of another sweep \(plugins is"):
        run(*command, cwd=tmp_path)


def test_a_package_announces_its_own(outside, tmp_path):
    place = tmp_path / "my_package"
    place.mkdir()
    (place / "__init__.py").touch()
    for name in ("shuffle.py", "one_element.py"):
        shutil.copy(outside / name, place)
    said = TEXT.split("[project.entry-points", 1)[1].split("```")[0]
    groups = re.findall(r'\."(addersim\.\w+)"\]\n(\w+) = "([\w.]+)"', "[project.entry-points" + said)
    assert [group for group, _, _ in groups] == ["addersim.ops", "addersim.dataflows"]
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    points = "".join(f"[{group}]\n{name} = {module}\n" for group, name, module in groups)
    (info / "entry_points.txt").write_text(points)
    printed = run("-m", "addersim", "list", "ops", cwd=tmp_path, path=tmp_path)
    assert "channel_shuffle" in printed
    assert "one_element" in run("-m", "addersim", "list", "dataflows", cwd=tmp_path, path=tmp_path)


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """A copy of the package with the files on its shelves."""
    folder = tmp_path_factory.mktemp("inside")
    shutil.copytree(Path(addersim.__file__).parent, folder / "addersim", ignore=shutil.ignore_patterns("__pycache__"))
    for name, shelf in SHELVES.items():
        (folder / "addersim" / shelf / name).write_text(FILES[name], encoding="utf-8")
    return folder


def test_the_same_files_inside(inside, tmp_path):
    code = """
import addersim
from addersim.costs import COSTS
from addersim.hardware import HARDWARE
from addersim.mapping.dataflows import DATAFLOWS
from addersim.network.ops import OPS
assert OPS["channel_shuffle"].shape(next(iter(OPS["channel_shuffle"].examples()))[0], (4, 3, 3)) == (4, 3, 3)
qnet = addersim.QuantizedNetwork.load("lenet5_adder-mnist-8bit")
cost = addersim.evaluate(qnet.on("narrow"), "narrow", "one_element", "mine_22nm")
print(COSTS["mine_22nm"].name, HARDWARE["narrow"].name, cost.cycles > 416_520)
"""
    assert run("-c", code, cwd=tmp_path, path=inside) == "mine_22nm narrow True\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 /", "ends with SyntaxError"),
        ("import no_such_module", "ends with ModuleNotFoundError"),
        ("raise SystemExit(3)", "ends with SystemExit: 3"),
        ("raise ValueError('one\\ntwo')", "ends with ValueError: one two"),
        (FILES.get("one_element.py", "") + "\n1 / 0\n", "ends with ZeroDivisionError"),
        (FILES.get("one_element.py", "").replace('"one_element"', '"output_stationary"'), "two dataflows are called"),
    ],
)
def test_a_plug_in_that_fails_leaves_nothing(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    before, loaded = dict(DATAFLOWS), dict(PLUGINS)
    with pytest.raises(InputError, match=message) as error:
        load_plugin(tmp_path / "mine.py")
    assert "mine.py" in str(error.value) and "\n" not in str(error.value)
    assert (dict(DATAFLOWS), PLUGINS) == (before, loaded)
    with pytest.raises(InputError, match=r"nowhere\.py: cannot be read: No such file"):
        load_plugin(tmp_path / "nowhere.py")


@pytest.mark.parametrize("end", ["1 / 0", 'DATAFLOWS.add("output_stationary", one_element)'])
def test_a_plug_in_that_fails_first_of_all_leaves_nothing(tmp_path, end):
    """In a fresh process the shelves are empty, or not there, when the file begins."""
    (tmp_path / "mine.py").write_text(FILES["one_element.py"] + end + "\n")
    code = """
import addersim
try:
    addersim.load_plugin("mine.py")
except addersim.InputError as error:
    print(error)
from addersim.mapping.dataflows import DATAFLOWS
print("one_element" in list(DATAFLOWS), DATAFLOWS["output_stationary"].__module__)
"""
    said, left = run("-c", code, cwd=tmp_path).splitlines()
    assert said.startswith("mine.py: the plug-in ends with")
    assert left == "False addersim.mapping.dataflows.output_stationary"


def test_a_plug_in_that_loads_another_takes_it_along(tmp_path, shelves):
    (tmp_path / "one_element.py").write_text(FILES["one_element.py"])
    both = (
        "from pathlib import Path\nimport addersim\naddersim.load_plugin(Path(__file__).with_name('one_element.py'))\n"
    )
    (tmp_path / "both.py").write_text(both + "1 / 0\n")
    with pytest.raises(InputError, match="ends with ZeroDivisionError"):
        load_plugin(tmp_path / "both.py")
    assert "one_element" not in list(DATAFLOWS) and not PLUGINS
    (tmp_path / "both.py").write_text(both)
    load_plugin(tmp_path / "both.py")
    assert "one_element" in list(DATAFLOWS) and len(PLUGINS) == 2


def test_a_plug_in_is_loaded_once(tmp_path, shelves):
    (tmp_path / "mine.py").write_text(FILES["one_element.py"])
    (tmp_path / "link.py").symlink_to("mine.py")
    for same in ("mine.py", "mine.py", f"../{tmp_path.name}/mine.py", "link.py"):
        load_plugin(tmp_path / same)
    assert DATAFLOWS["one_element"].__doc__
    (tmp_path / "mine.py").write_text(FILES["one_element.py"] + "# changed\n")
    with pytest.raises(InputError, match="two dataflows are called 'one_element'"):
        load_plugin(tmp_path / "mine.py")
