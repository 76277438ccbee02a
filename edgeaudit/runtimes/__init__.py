"""Runtimes: artifact + records -> raw answers, on the device. numpy and the runtime only."""
