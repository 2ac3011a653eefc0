"""Cycle training of single-step inverse and forward rendering together (Ouroboros: Sun et al., ICCV 2025).

Both networks take one step at t = T. Beside the losses of the task, each is held to what the other makes of it:

    photo I -> maps X~ -> photo I~, and maps X -> photo I~ -> maps X~, with |X - X~|^2 + |I - I~|^2     (section 3.3)

in the pixels of the pictures, through both networks and the decoder and encoder between them. A photo whose maps
nobody knows joins by the first cycle. The forward network is told its light besides; where it is not known (a real
photo), it is told none, and paints what the maps and the first pass leave open.
"""

from __future__ import annotations
