"""The loss and the detector applied to a user's own images: the commands `finetune` and `score`.

They live in the harness because they need what it needs (the extra `bench`) and reach networks and data sets
by the same door, the plug-in manager; a package of their own would repeat both.
"""
