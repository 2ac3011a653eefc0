"""Where models are: ids and their cards, the hub, its cache on this machine, folders of the caller's own."""
