"""What a split, its labels and its films give away before any model has been trained."""
