"""Data sets written to disk: clips and WebDataset shards."""
