"""Blob, the memory under it, and the two ways of moving it between processes."""
