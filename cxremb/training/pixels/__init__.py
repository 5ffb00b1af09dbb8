"""Networks from pixels, read downward: source gives films, augment changes them, loop trains, fit makes a run."""
