"""Weights and images: where files lie, how they are fetched, read and transformed."""
