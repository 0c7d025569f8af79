"""Reports -> one self-contained HTML page, plots, the model card of a bundle."""
