"""Scheduling policies, shared with production: standard library and numpy only."""
