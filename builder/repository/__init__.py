"""A Triton repository on disk: which file lies where, its manifest, and its swap into place."""
