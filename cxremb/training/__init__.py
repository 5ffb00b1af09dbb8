"""Light heads on frozen vectors, read downward: presets and heads say what, the loop trains, fit makes a run of it."""
