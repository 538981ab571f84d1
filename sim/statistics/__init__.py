"""Paired comparison by resampling whole blocks: what a difference is worth. Pure numpy: no files, no clock.

`docs/reference/statistics.md` says what is computed, what it assumes, and how often it is right.
"""
