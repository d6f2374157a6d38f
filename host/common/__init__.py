"""Code that all packages of the workstation share: console, child processes, work folders, downloads."""
