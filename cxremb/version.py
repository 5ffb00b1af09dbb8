"""The version of this package, for whatever records it."""

VERSION = "0.1.0"
