"""The folders of published values and recipes, for the plug-in's records."""

from __future__ import annotations

from importlib.resources import files

PUBLISHED = files("energy_plugin_bench") / "published"
RECIPES = files("energy_plugin_bench") / "recipes"
