"""What was done: files by digest, records by key, who uses them, what goes. Builds share it."""
