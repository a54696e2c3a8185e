"""Specs: model.yaml, ensemble.yaml and targets, read into frozen values.

Reading is all this package does to the outside; it imports nothing heavy. What a spec
means for Triton is `builder.triton`'s, what is built from it is `builder.plan`'s.
"""
