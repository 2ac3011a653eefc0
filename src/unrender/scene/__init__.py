"""The nouns: frames, G-buffers, environment maps, cameras, colour. Everything else speaks in these."""
