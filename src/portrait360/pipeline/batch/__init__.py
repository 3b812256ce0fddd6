"""Process many photos, on local processes or a Ray cluster."""
