"""Production adapters: the same policy behind kube-scheduler, as a scheduler of its own, and in another process."""
