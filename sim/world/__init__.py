"""How fast jobs work, and what happens to servers."""
