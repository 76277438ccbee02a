"""How much leaks: figures with intervals from scores and memberships; knows nothing of attacks."""
