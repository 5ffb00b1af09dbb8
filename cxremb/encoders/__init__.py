"""Frozen encoders: a literal table, and one file per library that loads them."""
