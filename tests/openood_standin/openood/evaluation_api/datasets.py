DATA_INFO = {"cifar10": {}, "cifar100": {}, "imagenet200": {}, "imagenet": {}}


def data_setup(data_root, id_name):
    raise OSError("data sets would be downloaded here")


def get_id_ood_dataloader(id_name, data_root, preprocessor, **loader_kwargs):
    raise OSError("data sets would be opened here")
