"""Measured with a floor beside it in the same process; never asserted by wall clock."""
