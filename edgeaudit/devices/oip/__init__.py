"""Transport over the Open Inference Protocol v2."""
