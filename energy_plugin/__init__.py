"""Energy-regularised loss and energy detector for out-of-distribution detection."""

__version__ = "0.1.0"
