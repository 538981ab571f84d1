"""Entitlements of queues."""
