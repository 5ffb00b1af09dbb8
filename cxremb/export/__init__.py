"""Runs as ONNX files, read upward: graph is what is computed, subject what goes in, write makes and checks a file."""
