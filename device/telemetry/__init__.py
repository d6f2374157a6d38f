"""What a phone did while a cell ran: temperatures, frequencies, battery, memory, CPU masks."""
