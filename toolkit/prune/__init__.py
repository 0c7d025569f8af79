"""Checkpoint -> smaller Checkpoint. Needs torch; recovery is `train.fit` with the zeros held in place."""
