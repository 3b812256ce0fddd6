"""How networks are trained: one trainer, its tasks, their data and recipes."""
