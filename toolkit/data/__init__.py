"""Which film is in which split: sources, patients, duplicates, splits. Only `loader` needs torch."""
