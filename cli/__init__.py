"""The farlayer command, one file for each of its commands."""
