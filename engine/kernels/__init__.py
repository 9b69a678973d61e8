"""Kernels: which code does the heavy arithmetic of layers. NumPy's is the layers' own; PyTorch's takes its place."""
