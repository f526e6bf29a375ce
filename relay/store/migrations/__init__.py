"""Numbered, one way: every file in `versions/` takes the schema one step further, on both databases."""
