"""llama.cpp: its source, its builds for each ABI and ISA level, and the output of its tools."""
