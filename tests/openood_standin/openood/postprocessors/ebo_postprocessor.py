import torch

from openood.postprocessors.base_postprocessor import BasePostprocessor


class EBOPostprocessor(BasePostprocessor):
    def __init__(self, config):
        super().__init__(config)
        self.temperature = config.postprocessor.postprocessor_args.temperature
        self.args_dict = config.postprocessor.postprocessor_sweep

    @torch.no_grad()
    def postprocess(self, net, data):
        logits = net(data)
        return logits.argmax(1), self.temperature * torch.logsumexp(logits / self.temperature, 1)

    def set_hyperparam(self, hyperparam):
        self.temperature = hyperparam[0]

    def get_hyperparam(self):
        return self.temperature
