"""Migrations of the cold store. What is published is never changed; add another one."""
