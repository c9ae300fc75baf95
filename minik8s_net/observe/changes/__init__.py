"""What a command changed in the kernel: everything held before, everything held after, and the lines that differ."""
