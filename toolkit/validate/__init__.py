"""Bundle against its reference -> metrics, drift and a verdict. Runs the very code that the clinic runs; no torch."""
