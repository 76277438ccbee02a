"""Files that are deployed: what they are and what they declare."""
