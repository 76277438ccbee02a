"""Executors: what runs the graph of jobs."""
