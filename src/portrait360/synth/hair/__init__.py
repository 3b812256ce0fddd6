"""Hair grown as strands: hairstyles, locks, ties, beards and eyebrows."""
