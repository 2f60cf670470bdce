"""The evaluator: scores ID test, then each OOD set; a table of rates in percent."""

import itertools

import numpy as np
import torch

from openood.evaluation_api.datasets import DATA_INFO, data_setup, get_id_ood_dataloader
from openood.evaluation_api.postprocessor import get_postprocessor
from openood.evaluators.metrics import compute_all_metrics
from openood.postprocessors import BasePostprocessor


class Evaluator:
    def __init__(
        self,
        net,
        id_name,
        data_root="./data",
        config_root="./configs",
        preprocessor=None,
        postprocessor_name=None,
        postprocessor=None,
        batch_size=200,
        shuffle=False,
        num_workers=4,
    ):
        if postprocessor_name is None and postprocessor is None:
            raise ValueError("Please pass postprocessor_name or postprocessor")
        if id_name not in DATA_INFO:
            raise ValueError(f"Dataset [{id_name}] is not supported")
        data_setup(data_root, id_name)
        self.dataloader_dict = get_id_ood_dataloader(id_name, data_root, preprocessor)
        if postprocessor is None:
            postprocessor = get_postprocessor(config_root, postprocessor_name, id_name)
        if not isinstance(postprocessor, BasePostprocessor):
            raise TypeError("postprocessor should inherit BasePostprocessor in OpenOOD")
        postprocessor.setup(net, self.dataloader_dict["id"], self.dataloader_dict["ood"])
        self.net, self.postprocessor = net, postprocessor
        self.scores, self.metrics = {}, None
        if postprocessor.APS_mode and not postprocessor.hyperparam_search_done:
            self.hyperparam_search()
        self.net.eval()

    def _classifier_inference(self, loader):
        self.net.eval()
        with torch.no_grad():
            hits = [
                (self.net(batch["data"].cuda()).argmax(1).cpu() == batch["label"]).float() for batch in loader
            ]
        return 100 * torch.cat(hits).mean().item()

    def eval_ood(self, fsood=False, progress=True):
        if self.metrics is None:
            self.net.eval()
            known = self._scored("id", self.dataloader_dict["id"]["test"], progress)
            table = {}
            for split in ("near", "far"):
                rows = [
                    self._row(known, self._scored(name, loader, progress))
                    for name, loader in self.dataloader_dict["ood"][split].items()
                ]
                table |= dict(zip(self.dataloader_dict["ood"][split], rows, strict=True))
                table[f"{split}ood"] = np.mean(rows, axis=0)
            accuracy = self._classifier_inference(self.dataloader_dict["id"]["test"])
            columns = ("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT")
            self.metrics = {
                name: dict(zip(columns, row, strict=True)) | {"ACC": accuracy} for name, row in table.items()
            }
        return self.metrics

    def _scored(self, name, loader, progress):
        if name not in self.scores:
            self.scores[name] = self.postprocessor.inference(self.net, loader, progress)
        return self.scores[name]

    @staticmethod
    def _row(known, other):
        pred, conf, label = (np.concatenate(pair) for pair in zip(known, other, strict=True))
        label[len(known[2]) :] = -1  # whatever the set says
        return 100 * np.array(compute_all_metrics(conf, label, pred)[:4])

    def hyperparam_search(self):
        best, chosen = 0, None
        for values in itertools.product(*self.postprocessor.args_dict.values()):
            self.postprocessor.set_hyperparam(list(values))
            pair = [
                self.postprocessor.inference(self.net, self.dataloader_dict[kind]["val"])
                for kind in ("id", "ood")
            ]
            auroc = self._row(*pair)[1]
            if auroc > best:
                best, chosen = auroc, list(values)
        self.postprocessor.set_hyperparam(chosen)
        self.postprocessor.hyperparam_search_done = True
