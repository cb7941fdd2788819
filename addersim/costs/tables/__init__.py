"""The shelf of cost tables, one TOML file per publication, and the laws by which a table prices a width."""
