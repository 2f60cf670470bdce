from openood.utils.config import Config, merge_configs

__all__ = ["Config", "merge_configs"]
