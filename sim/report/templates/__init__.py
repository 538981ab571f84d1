"""The page: its sections as templates, and its style sheets."""
