"""Cost tables: what one operation of one width costs, each figure with the publication it stands in.

One TOML file per publication. A file put here is on the shelf :data:`COSTS` and under every test that
iterates over it.
"""

from __future__ import annotations

from addersim.costs.tables.rows import Price
from addersim.costs.tables.table import COSTS, CostTable, arithmetic_tables, load_table

__all__ = ["COSTS", "CostTable", "Price", "arithmetic_tables", "load_table"]
