"""Published values and how each is measured, as data: rows, recipes, file lists, loaded and checked."""
