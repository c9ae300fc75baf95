"""The one place that knows this project's version."""

__version__ = "0.1.0"
