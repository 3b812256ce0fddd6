"""The version of the package; every file that the package writes names it."""

__version__ = "0.1.0"
