"""The pure part of SmoothQuant: architectures, folds, formulas, rotation, changes of tensors."""
