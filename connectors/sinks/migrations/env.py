"""What Alembic runs around the migrations, on the connection that `migrate` gives it."""

from alembic import context


def run() -> None:
    """Run the migrations in the caller's transaction."""
    context.configure(connection=context.config.attributes["connection"])
    context.run_migrations()


if __name__ == "env_py":  # the name that Alembic loads this file under; imports do nothing
    run()
