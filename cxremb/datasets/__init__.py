"""Adapters, one file per collection: what lies on disk or in a table becomes a `Collection`. None decodes pixels."""
