"""portrait360: one portrait in, a head that can be seen from all sides out."""

__version__ = "0.1.0"
