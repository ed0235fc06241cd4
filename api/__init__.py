"""What people and programs ask of the engine: it reads stores, and writes orders."""
