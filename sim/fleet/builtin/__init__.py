"""Fleets that come with the product, each a fleet file."""
