"""Jobs on worker processes or on a Ray cluster."""
