"""One file a detector; each is found because it exists and exports DETECTOR."""
