"""The steps of `benchmarks/gpu.py`. Each yields what it finds piece by piece: a time limit loses only the rest."""
