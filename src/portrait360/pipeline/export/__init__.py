"""Export heads to files that other programs open."""
