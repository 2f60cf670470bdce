"""The command `energy-plugin evaluate`, and pictures of outlier maps."""
