"""The user's own Python: loaded, called, watched, checked, and blamed at the right line."""
