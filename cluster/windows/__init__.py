"""Windows: what "the last seven days" means, in numbers. Pure; docs/windows.md has the picture."""
