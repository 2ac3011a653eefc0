"""Where weights come from: folders in diffusers' layout with a card beside them, and the embedded `mini`."""
