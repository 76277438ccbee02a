"""The cost of a format beside its leakage: bytes, compressed bytes, zero weights, milliseconds a call."""
