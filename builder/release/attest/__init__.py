"""What is said about a release, and by whom: provenance, verdicts, a bill of materials, signatures.

Everything here is bytes in, bytes out, and follows from the manifest alone; where the bytes are
kept is for others.
"""
