"""One file per architecture family, and the table of their names. Needs torch.

A network takes float32 `[N, channels, size, size]` in the scale of its `Preprocessing` and gives logits `[N]`.
"""
