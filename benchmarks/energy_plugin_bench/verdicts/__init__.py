"""From logits and maps to figures, and from figures to verdicts."""
