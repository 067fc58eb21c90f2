"""The commands of the `refusion` program, one module each. Nothing heavy is imported before a command runs."""
