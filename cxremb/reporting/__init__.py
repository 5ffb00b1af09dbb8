"""One page that holds without the program: what was compared, how it came out, and what it does not show."""
