"""The steps of `benchmarks/coverage.py`: each module simulates one question, `run(quick)`, and prints it, `table`."""
