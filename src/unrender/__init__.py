"""unrender: take pictures apart into geometry, material and light, change any of them, put them back together."""

__version__ = "0.1.0"
