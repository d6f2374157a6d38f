"""The controller, on the workstation."""
