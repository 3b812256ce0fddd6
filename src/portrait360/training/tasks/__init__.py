"""What each recipe learns: its loss, its batches and its validation."""
