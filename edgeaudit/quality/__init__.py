"""What a format costs beside what it leaks: bytes, compressed bytes, zero weights, milliseconds."""
