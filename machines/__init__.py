"""What drives an engine and its model side by side, and judges."""
