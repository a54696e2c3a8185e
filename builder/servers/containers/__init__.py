"""A tritonserver in a container: the engine that runs it, how it is kept in, whose it is."""
