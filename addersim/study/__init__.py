"""One TOML file, and what is made of it: an outcome, widths, an exploration."""
