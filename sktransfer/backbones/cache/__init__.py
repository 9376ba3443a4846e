"""The row cache: what is kept under which key, in memory and on disk, and whether that is safe."""
