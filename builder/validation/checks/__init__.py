"""The questions put to a live server, one group a file.

A check is a function that takes a `Case` and gives a `Finding`, or None where the question
does not arise. It bounds itself in time and count. A refusal that it does not expect is
left to `live.py`, which makes it a finding too.
"""
