"""Builds and tries the images for real where no Docker daemon runs. Standard library only."""
