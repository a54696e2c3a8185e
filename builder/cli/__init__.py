"""The command line: parses, wires, prints. One module a command; nothing imports it."""
