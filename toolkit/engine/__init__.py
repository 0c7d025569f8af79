"""Where many pieces of work are done: processes of this machine, or a Ray cluster. Nothing here knows what the work is."""
