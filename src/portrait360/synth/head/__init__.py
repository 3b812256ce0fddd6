"""The bare head: skin, eyes, and the shapes of toons and fantasy heads."""
