"""From a folder of chest X-rays to a small, verified model on the machine that a clinic has.

    films --train--> Checkpoint --prune--> Checkpoint --lower--> Graph --quantize--> Graph
          --export--> Bundle --validate--> DriftReport, --benchmark--> LatencyReport, --predict--> Predictions

Torch lives in the first half only (`models`, `train`, `prune`, `quantize.lower`). From the float graph on,
all is numpy and one runtime library. Importing this package imports nothing else.
"""

__version__ = "0.1.0"
