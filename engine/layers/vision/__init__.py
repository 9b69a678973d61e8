"""Layers that work on images and other spatial data."""
