from openood.pipelines.test_ood_pipeline import TestOODPipeline
from openood.pipelines.train_oe_pipeline import TrainOEPipeline

__all__ = ["TestOODPipeline", "TrainOEPipeline"]
