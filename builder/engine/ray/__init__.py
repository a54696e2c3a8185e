"""Actions on a Ray cluster."""
