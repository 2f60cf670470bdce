"""Networks over sets of images: computed once, kept, shared among processes."""
