"""What a build leaves behind for people and machines: a page, JUnit XML, a table, JSON.

`contents.py` is what there is to say; each other module says it in one form. Figures and
times live here and nowhere else: manifests hold nothing that varies from run to run.
"""
