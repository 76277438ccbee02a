"""Population: records, labels, and their split."""
