"""From specs to a graph of actions, and what of it is still to be done. Pure.

No file is read here: digests and versions come in as values (`Facts`), so that a plan can
be made, compared and tested without a disk, torch or a server.
"""
