"""What is measured, not asserted: `make bench` prints ratios out of one run."""
