"""Every format at the edge: pictures, EXR, HDR, video, cameras, meshes, shards. Beyond it, all is scene-linear."""
