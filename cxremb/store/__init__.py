"""The files under the store root: where they lie, how they are written, how they are read back."""
