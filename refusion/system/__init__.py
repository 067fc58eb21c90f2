"""The machine: files, devices, memory, threads and processes."""
