"""The embed job: what is wanted, what is there already, encode the rest, commit."""
