"""Leakage figures with intervals, from scores and memberships. This package does not depend on attacks."""
