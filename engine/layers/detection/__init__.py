"""Layers that find objects: regions, prior boxes, their loss and their output."""
