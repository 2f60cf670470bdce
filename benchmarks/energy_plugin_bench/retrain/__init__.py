"""Published fine-tuning, done again: figures of networks whose weights nobody published."""
