"""The remote cache: results of other machines, in any object store. Knows bytes, no actions."""
