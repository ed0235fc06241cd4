"""`python -m exchange`."""

import typer

from exchange.command import main

if __name__ == "__main__":
    typer.run(main)
