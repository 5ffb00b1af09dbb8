"""What lies near a film or a text: query, cosines, people, conditions, find. Exact: every vector is compared."""
