"""Losses, and what measures them."""
