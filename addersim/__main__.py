"""``python -m addersim``."""

from addersim.cli.app import main

main()
