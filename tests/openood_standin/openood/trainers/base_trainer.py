import math

import torch


class BaseTrainer:
    def __init__(self, net, train_loader, config):
        self.net, self.train_loader, self.config = net, train_loader, config
        settings = config.optimizer
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )
        steps = settings.num_epochs * len(train_loader)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 1e-6 / settings.lr + 0.5 * (1 + math.cos(step / steps * math.pi))
        )

    def train_epoch(self, epoch_idx):
        raise NotImplementedError

    def save_metrics(self, loss_avg):
        return loss_avg  # the mean over processes
