"""Stages: one file for each arrow of the data."""
