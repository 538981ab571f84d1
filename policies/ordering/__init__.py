"""Orderings of the queue, one small file each. Every key ends in the rank of arrival, so it is total."""
