"""Splats straight from an avatar: along its strands, on its surfaces, and where its photo shows the front."""
