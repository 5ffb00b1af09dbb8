"""A collection into the store: read once, a record at a time, into tables that are committed together."""

from cxremb.catalog.add import Added, add_collection

__all__ = ["Added", "add_collection"]
