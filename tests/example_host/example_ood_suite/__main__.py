"""Train with a loss from a plug-in, score with a detector from a plug-in, print JSON."""

import argparse
import json
import sys

import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from example_ood_suite.plugins import Plugins

KNOWN = 8


def split():
    """Return images and labels for training and for testing; the outliers of training are shuffled pixels."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32)
    labels = torch.tensor(labels)
    train = torch.arange(len(images)) % 2 == 0
    known = labels < KNOWN
    seen, classes = images[train & known], labels[train & known]
    shuffled = seen.gather(1, torch.rand(seen.shape).argsort(1))
    blurred = (seen + seen[torch.randperm(len(seen))]) / 2
    outliers = torch.cat([shuffled, blurred])
    targets = torch.cat([classes, torch.full((len(outliers),), -1)])
    return (torch.cat([seen, outliers]), targets), (images[~train], labels[~train])


def main():
    parser = argparse.ArgumentParser(prog="example_ood_suite")
    parser.add_argument("--loss", required=True)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--distribution", default="")
    options = parser.parse_args()
    torch.manual_seed(0)
    plugins = Plugins()
    make_loss, _ = plugins.get("ood_losses", options.loss, options.distribution)
    make_detector, record = plugins.get("ood_detectors", options.detector, options.distribution)

    (inputs, targets), (images, labels) = split()
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, KNOWN))
    loss = make_loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = []
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        optimizer.step()
        history.append(value.item())

    with torch.no_grad():
        logits = model(images)
    scores = make_detector().score(logits) * (1 if record.higher_is == "ood" else -1)
    unknown = labels >= KNOWN
    result = {
        "auroc": roc_auc_score(unknown, scores),
        "accuracy": (logits.argmax(1) == labels)[~unknown].float().mean().item(),
        "loss": {"first": history[0], "last": history[-1], "class": type(loss).__name__},
        "loaded_from": sys.modules[type(loss).__module__].__file__,
        "failures": plugins.failures,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
