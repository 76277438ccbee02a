"""Facts about this machine: its CPU, its packages, and which of them need separate processes."""
