"""audit.yaml, typed: one file for each section."""
