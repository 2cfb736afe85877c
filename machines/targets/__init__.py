"""Engines behind the one protocol: the built-in one, and those that others wrote."""
