from torch.nn.functional import cross_entropy


def soft_cross_entropy(logits, soft_labels):
    return cross_entropy(logits, soft_labels)
