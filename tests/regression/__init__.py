"""What the bundles of exported/ answered when they were recorded, and whether they still do. Limits stand in limits.json."""
