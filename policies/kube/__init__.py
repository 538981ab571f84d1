"""What Kubernetes says of pods and nodes, and kube-scheduler's own rules over it. Standard library and numpy only."""
