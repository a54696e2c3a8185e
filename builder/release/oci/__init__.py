"""A release as an OCI image and as a ModelPack artifact, in a registry or in a folder.

    reference    where it goes: a registry or a folder
    layers       which files travel together, as deterministic tar archives. Pure
    documents    the configurations, manifests and the index around them. Pure
    push         all of it, to a destination
    folder       a destination: an OCI image layout
    registry     a destination: the OCI distribution API
    credentials  who we are to a registry

The same release has the same OCI digest, wherever and whenever it is pushed.
"""
