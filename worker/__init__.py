"""The process that holds layer instances: user code runs here and nowhere else."""
