"""Verdicts for readers: HTML, Markdown, JSON, CSV."""
