"""Metrics of any number of scores in bounded memory, each with a rigorous bound beside it."""

from energy_plugin.streaming.bounds import Bounded
from energy_plugin.streaming.stream import BoundedResults, StreamingMetrics

__all__ = ["Bounded", "BoundedResults", "StreamingMetrics"]
