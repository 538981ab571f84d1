"""Services: what runs until it is not wanted, and answers requests meanwhile. Replicas are jobs; latency comes from the timeline."""
