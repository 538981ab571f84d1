"""Gates: what a policy must keep against a baseline, declared before it is replayed."""
