"""The verbs of cxremb as functions: what the command line calls, and what `import cxremb` gives."""
