"""Budgets -> verdict -> exit code."""
