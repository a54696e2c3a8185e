"""Releases: proven repositories in an object store, immutable, and the channels that name them.

    layout   the names of what lies in a store
    store    a store, in the words of releases
    publish  a repository becomes a release
    channel  a movable name, and how it moves
    pull     a release becomes a folder that Triton serves
    collect  what nobody needs any more goes

Knows no specs, plans or servers, and imports nothing heavy: pods run it.
"""
