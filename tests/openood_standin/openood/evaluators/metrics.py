"""Rates with OOD positive; `conf` is higher for ID, labels are -1 for OOD."""

from sklearn import metrics


def compute_all_metrics(conf, label, pred):
    is_ood = (label == -1).astype(int)
    fpr, tpr, _ = metrics.roc_curve(is_ood, -conf)
    precision_in, recall_in, _ = metrics.precision_recall_curve(1 - is_ood, conf)
    precision_out, recall_out, _ = metrics.precision_recall_curve(is_ood, -conf)
    accuracy = (pred == label)[label != -1].mean()
    return [
        fpr[(tpr >= 0.95).argmax()],
        metrics.auc(fpr, tpr),
        metrics.auc(recall_in, precision_in),
        metrics.auc(recall_out, precision_out),
        accuracy,
    ]
