from openood.trainers.utils import get_trainer

__all__ = ["get_trainer"]
