"""Membership inference attacks: pure functions from responses to one score per record, higher meaning member."""
