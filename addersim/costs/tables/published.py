"""Puts every TOML file of this directory on the shelf; imported at the shelf's first look-up."""

from pathlib import Path

from addersim.costs.tables.table import COSTS, CostTable
from addersim.toml import read

for _path in sorted(Path(__file__).parent.glob("*.toml")):
    COSTS.add(_path.stem, read(CostTable, _path))
