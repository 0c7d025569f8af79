"""Checkpoint -> float Graph (`lower`, needs torch); float Graph -> int8 Graph, one way for each runtime (no torch)."""
