"""Devices: where a runtime runs."""
