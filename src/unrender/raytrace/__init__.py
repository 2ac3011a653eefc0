"""Mitsuba 3 behind unrender's conventions: variant selection, scenes, path tracing, and G-buffers."""
