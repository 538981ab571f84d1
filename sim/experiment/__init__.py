"""Scenarios, comparisons and what prepares them."""
