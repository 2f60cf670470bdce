from torch.utils.data import DataLoader

from openood.trainers.base_trainer import BaseTrainer
from openood.trainers.oe_trainer import OETrainer


def get_trainer(net, train_loader, val_loader, config):
    if type(train_loader) is DataLoader:
        return {"base": BaseTrainer}[config.trainer.name](net, train_loader, config)
    return {"oe": OETrainer}[config.trainer.name](net, train_loader[0], train_loader[1], config)
