"""Live Triton servers behind one protocol; each is a context manager that leaves nothing behind."""
