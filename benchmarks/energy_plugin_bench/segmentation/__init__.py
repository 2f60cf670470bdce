"""Anomaly segmentation in the harness: images with masks from files, overlays, published rows, the command."""
