"""Work in parallel: side by side in processes of one machine, and shared among machines by a queue."""
