"""What all packages of the workstation share: console, locks, child processes, downloads."""
