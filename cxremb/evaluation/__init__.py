"""Arrays in, numbers out: metrics of one set of predictions, and how far other patients would move them."""
