"""The net engine: prototxt, nets, layers and solvers."""
