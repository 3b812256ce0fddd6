"""Many portraits: each a run of its own, and a row in a report."""
