"""Placements, one small file each: where a gang goes."""
