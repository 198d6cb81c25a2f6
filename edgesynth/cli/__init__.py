"""The command line: one file a sub-command, nothing but argument parsing and printing."""
