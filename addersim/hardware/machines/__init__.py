"""Puts every TOML file of this directory on the shelf; imported at the shelf's first look-up."""

from pathlib import Path

from addersim.hardware.machine import HARDWARE, Hardware
from addersim.toml import read

for _path in sorted(Path(__file__).parent.glob("*.toml")):
    HARDWARE.add(_path.stem, read(Hardware, _path))
