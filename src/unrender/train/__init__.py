"""Training: one readable loop, one typed recipe per paper."""
