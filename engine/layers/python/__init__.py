"""The layer whose code is the user's."""
