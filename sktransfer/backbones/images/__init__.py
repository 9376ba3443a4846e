"""Images as rows: what they come in, how they are read, and brought to what a network takes."""
