from openood.evaluation_api.evaluator import Evaluator

__all__ = ["Evaluator"]
