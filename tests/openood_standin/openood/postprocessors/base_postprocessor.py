import numpy as np
import torch


class BasePostprocessor:
    def __init__(self, config):
        self.config = config

    def setup(self, net, id_loader_dict, ood_loader_dict):
        pass

    @torch.no_grad()
    def postprocess(self, net, data):
        conf, pred = net(data).softmax(1).max(1)
        return pred, conf

    def inference(self, net, data_loader, progress=True):
        found = []
        for batch in data_loader:
            pred, conf = self.postprocess(net, batch["data"].cuda())
            found.append([part.cpu().numpy() for part in (pred, conf, batch["label"].cuda())])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]
