"""Facts of this machine: its CPU, its packages, which of them cannot share a process."""
