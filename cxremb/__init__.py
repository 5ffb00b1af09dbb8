"""cxremb: a precomputed-embedding feature store for chest X-rays, with lightweight trainers."""

from cxremb.version import VERSION as __version__

__all__ = ["__version__"]
