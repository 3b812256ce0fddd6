"""How the small model's networks are trained: data, loop, recipes."""
