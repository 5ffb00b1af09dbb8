"""Pages over a data set that show what is stored: rows and their films, a case, runs, a map. Only notes are written."""
