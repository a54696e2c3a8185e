"""One build, as a fold of the phases: plan, run, assemble, validate, swap in, report.

The phases know nothing of one another; what passes between them is decided here.
"""
