"""The world: a fleet, an engine, and what is measured of a run."""
