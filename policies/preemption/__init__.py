"""Cycles that take running jobs off their devices."""
