from openood.trainers import get_trainer


class TrainOEPipeline:
    def __init__(self, config, net, loaders):
        self.config, self.net, self.loaders = config, net, loaders

    def run(self):
        trainer = get_trainer(self.net, [self.loaders["train"], self.loaders["oe"]], None, self.config)
        return [trainer.train_epoch(epoch)[1] for epoch in range(1, self.config.optimizer.num_epochs + 1)]
