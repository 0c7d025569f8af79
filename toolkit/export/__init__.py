"""Graph + Target -> the files of an Artifact. No torch."""
