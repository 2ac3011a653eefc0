"""Meshes, materials and assets, and Mitsuba 3 behind unrender's conventions: which variant really renders, scenes, and
their G-buffers."""
