"""Transport over ssh."""
