"""What a live server is asked before anything ships: `live.validate` gives the verdicts.

`subject.py` says what is under test, `checks/` holds one group of questions a file,
`verdict.py` what they answer, `client.py` the one way to the server.
"""
