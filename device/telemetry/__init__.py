"""The samples of a phone while a cell ran: temperatures, frequencies, battery, memory, CPU masks."""
