"""Measuring: metrics, protocols, reports. Every number says data, colour space, mask and alignment."""
