"""Layers of general use: inner products, softmax, splits."""
