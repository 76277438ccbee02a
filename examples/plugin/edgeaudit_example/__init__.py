"""Plugins for edgeaudit: `pip install edgeaudit-example`, and audit.yaml can name them."""
