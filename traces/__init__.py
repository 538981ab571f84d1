"""Trace files to job records. Knows neither policies nor the simulator."""
