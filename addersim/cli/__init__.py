"""The command line: one file per group of commands, each of which parses, calls one function and prints."""
