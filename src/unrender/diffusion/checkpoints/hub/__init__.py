"""Model locations: ids and their cards, the hub, its cache on this machine, the caller's own folders."""
