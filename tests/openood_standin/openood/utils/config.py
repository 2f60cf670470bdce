"""A dictionary whose keys are attributes too, from a YAML file or keywords."""

import json
from pathlib import Path


class Config(dict):
    def __init__(self, *files, **values):
        super().__init__()
        for file in files:
            self._take(_read(file))
        self._take(values)

    def _take(self, values):
        for key, value in values.items():
            self[key] = Config(**value) if isinstance(value, dict) else value

    def __getattr__(self, key):
        return self[key]  # a missing one is a KeyError there, so getattr(config, key, default) raises


def _read(file):
    if not (isinstance(file, str) and file.endswith(".yml")):
        raise TypeError(f"unknown file format {file}")
    text = Path(file).read_text()
    try:
        return json.loads(text)  # JSON is YAML, and needs no library here
    except json.JSONDecodeError:
        import yaml

        return yaml.safe_load(text)


def merge_configs(*configs):
    merged = Config()
    for config in configs:
        merged._take(config)
    return merged
