"""One denoising machine for every published model of this kind: card, codec, schedule, noise, sampler, decoding.

Published inverse and forward renderers are the same network with other habits. The habits are data (`ModelCard`); the
machine obeys them: `codec.encode_photo` -> autoencoder -> `sampler.denoise` -> `decoding.decode` ->
`codec.decode_maps`.
"""
