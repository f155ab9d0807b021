"""The version, in the one place the build and the programme both read."""

__version__ = "0.1.0"
