"""Why each job waited, told after the fact from a finished run."""
