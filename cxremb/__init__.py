"""cxremb: a precomputed-embedding feature store for chest X-rays, with lightweight trainers."""

__version__ = "0.1.0"
