"""Where the log of a process that people and services watch goes."""

import sys

import structlog

from connectors.secrets import guard_logging, redacting_processor


def log_to_standard_error() -> None:
    """Log lines of JSON to standard error, with secrets struck out.

    Standard output is a command's own: what it prints there may be read by a program.
    """
    guard_logging()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redacting_processor,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
