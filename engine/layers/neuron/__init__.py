"""Layers that work element by element."""
