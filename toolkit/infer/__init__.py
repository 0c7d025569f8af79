"""The clinic half: Bundle and pictures -> Predictions. No torch, one runtime at a time."""
