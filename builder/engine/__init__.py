"""Runs what a plan says is missing, in worker processes, and keeps the results by digest."""
