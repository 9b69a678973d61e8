"""Reading training data: databases, HDF5 files, images, windows; transforming it; reading ahead in a thread."""
