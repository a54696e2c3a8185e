"""A tritonserver of this machine: installed out of PyPI, and run as a process."""
