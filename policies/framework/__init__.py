"""Extension points in kube-scheduler's vocabulary, and the cycles that call them."""
