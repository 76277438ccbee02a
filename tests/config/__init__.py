"""Tests of the sections of audit.yaml."""
