"""The pure part of SmoothQuant: architectures, formulas, rotation, changes of tensors."""
