"""What the stage `int8` is made of: recipes, and the rewriting that each of them does."""
