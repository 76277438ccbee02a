"""Signed evidence of an audit: an in-toto Statement v1 in a DSSE envelope, and what a deployment step checks in it."""
