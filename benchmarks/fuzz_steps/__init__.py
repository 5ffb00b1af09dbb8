"""What `benchmarks/fuzz.py` is made of: targets, the inputs that they begin with, and the process that tries one."""
