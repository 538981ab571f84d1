"""From results to words, tables and pages. Decides nothing."""
