"""One file a metric: name, unit, which way is better, function of results."""
