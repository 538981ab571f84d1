"""The messages of the pages, a file for each language."""
