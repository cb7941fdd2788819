"""``python -m addersim``."""

from addersim.cli import main

main()
