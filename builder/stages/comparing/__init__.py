"""Two graphs held against each other, layer by layer."""
