"""Picture in, G-buffer out: one engine that obeys a model's card."""
