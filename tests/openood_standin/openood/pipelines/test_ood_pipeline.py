from openood.postprocessors import get_postprocessor


class TestOODPipeline:
    def __init__(self, config):
        self.config = config

    def run(self):
        return get_postprocessor(self.config)
