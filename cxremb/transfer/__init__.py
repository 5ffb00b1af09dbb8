"""Trained on one collection, tested on others: what is left of a figure elsewhere."""
