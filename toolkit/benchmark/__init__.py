"""Bundle on this machine -> LatencyReport. Each figure is taken in a fresh interpreter, by the code that the clinic runs."""
