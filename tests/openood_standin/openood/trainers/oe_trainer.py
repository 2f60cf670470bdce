from openood.trainers.base_trainer import BaseTrainer


class OETrainer(BaseTrainer):
    def __init__(self, net, train_loader, train_unlabeled_loader, config):
        super().__init__(net, train_loader, config)
        self.train_unlabeled_loader = train_unlabeled_loader
