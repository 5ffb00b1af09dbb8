"""The command line: each command parses, calls one function, renders. All rich lives here."""
