"""What the stage `export` is made of: ways to a graph, the graph's form, and its proof."""
