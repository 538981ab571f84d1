"""Replays of what a scheduler has decided: each decision scored in the state before it."""
