"""Image and text vectors into one shared space, read downward: pairs, project, retrieval, publish, align."""
