"""Cycles that start jobs out of order where that delays no reservation."""
