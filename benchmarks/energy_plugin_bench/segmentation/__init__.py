"""Anomaly segmentation in the harness: images with masks, overlays, published rows, the command."""
