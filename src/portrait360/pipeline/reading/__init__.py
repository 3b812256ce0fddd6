"""Read a portrait: what each pixel shows, and what head it is."""
