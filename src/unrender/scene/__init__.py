"""The core data types: frames, G-buffers, environment maps, cameras; and colour. All other packages use these."""
