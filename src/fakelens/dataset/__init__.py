"""From a source to prepared arrays: selection, grouped splits, audit, manifest; and from arrays to batches."""
