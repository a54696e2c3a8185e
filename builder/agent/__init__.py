"""The sidecar: it follows a channel, and brings a running Triton from release to release.

`follow.py` is its loop, `switch.py` one move of a server, `rehearsal.py` what is tried before
anybody sees it; `plan.py` decides, `tree.py` and `stamps.py` know folders, `triton.py` the server,
`source.py` the store, `state.py` what survives a restart, `web.py` and `metrics.py` what it tells.
"""
