"""Devices on which runtimes run."""
