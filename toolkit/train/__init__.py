"""TrainSpec and films -> Checkpoint. Needs torch; Lightning runs the loop."""
