"""cxremb: a precomputed-embedding feature store for chest X-rays, with lightweight trainers."""

from cxremb.version import VERSION as __version__  # noqa: N811 - the name that every package gives it

__all__ = ["__version__"]
